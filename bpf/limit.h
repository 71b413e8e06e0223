// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "maps.h"
#include "siphash.h"

// Limits: token buckets by the generic cell rate algorithm. A bucket is one word, the time at which it will be full again,
// so that one compare-and-swap takes a token.

static __always_inline int take(__u64 *bucket, __u64 now, __u64 cost, __u64 burst)
{
	if (cost == 0)
		return 1;
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 old = *(volatile __u64 *)bucket, full = old > now ? old : now;
		if (full + cost > now + burst)
			return 0;
		if (__sync_val_compare_and_swap(bucket, old, full + cost) == old)
			return 1;
	}
	return 0;
}

// mix is a multiplicative hash with a secret seed; It is fast, but an
// attacker can choose collisions: use it only where these gain nothing.
static __always_inline __u64 mix(__u64 h, __u64 x)
{
	h = (h ^ x) * GOLDEN;
	return h ^ h >> 29;
}

// source_bucket returns the bucket of the source's prefix: /32 for IPv4, /64 for IPv6, the longest that a provider assigns
// to a customer (RFC 6177).
static __always_inline __u32 source_bucket(const struct packet *p, const struct service *svc)
{
	__u64 high = (__u64)p->saddr[0] << 32 | p->saddr[1], low = p->v6 ? 0 : p->saddr[3];
	return siphash64(hash_key[0], hash_key[1], svc->id, high, low) >> 48;
}

// take_source takes a token for a verified ClientHello of the source's prefix.
static __always_inline int take_source(const struct packet *p, const struct service *svc, __u64 now)
{
	if (svc->source_cost == 0)
		return 1;
	__u64 *bucket = LOOKUP(source_buckets, source_bucket(p, svc));
	return !bucket || take(bucket, now, svc->source_cost, svc->source_burst);
}

// take_unverified takes a token for a packet of an unknown flow. Protected records may belong to a session older than the
// guard, so they have a bucket that junk cannot empty, and each prefix gets at most a part of it. Everything else shares one
// bucket, because its sources can be spoofed.
static __always_inline int take_unverified(const struct packet *p, const struct service *svc, struct service_state *state,
					   __u32 reason, __u64 now)
{
	if (reason != REASON_ENCRYPTED)
		return take(&state->junk_bucket, now, svc->unverified_cost, svc->unverified_burst);
	__u64 *bucket = LOOKUP(unverified_buckets, source_bucket(p, svc)), cost = svc->unverified_cost * PREFIX_PART;
	__u64 burst = svc->unverified_burst > cost ? svc->unverified_burst : cost; // at least one token
	return (!bucket || take(bucket, now, cost, burst)) &&
	       take(&state->protected_bucket, now, svc->unverified_cost, svc->unverified_burst);
}

static __always_inline __u32 flow_hash(const struct packet *p)
{
	__u64 h = mix(hash_key[0], (__u64)p->saddr[0] << 32 | p->saddr[1]);
	h = mix(h, (__u64)p->saddr[2] << 32 | p->saddr[3]);
	return mix(h, (__u32)p->sport << 16 | p->dport) >> 32;
}
