// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "limit.h"
#include "maps.h"
#include "siphash.h"

// Proved addresses, and prefixes that are allowed or denied: the tables of package addresses, in memory that the daemon and
// the programs share.

// address_key returns an IPv4 address under a prefix of IPv6 multicast, which no source has, or the /64 of an IPv6 address.
static __always_inline __u64 address_key(const __u32 *a, __u8 v6)
{
	if (!v6)
		return 0xffffffffULL << 32 | ntohl(a[3]);
	return (__u64)ntohl(a[0]) << 32 | ntohl(a[1]);
}

// bucket_of returns the bucket of a key. The /64s of an IPv6 /48, the most that one site is assigned (RFC 6177), share ADDRESS_SITE
// buckets: who has one can displace one address in 128, and not all of them. Bits 8 to 13 spread those of customers with a /56 each.
static __always_inline __u32 bucket_of(const struct control *c, __u64 key)
{
	int v6 = key >> 32 != 0xffffffff;
	__u32 bucket = siphash64(c->address_key[0], c->address_key[1], v6 ? key >> 16 : key, 0, 0) >> (64 - ADDRESS_BITS);
	return v6 ? bucket ^ ((key ^ key >> 8) & (ADDRESS_SITE - 1)) : bucket;
}

// A way is where an address is: the index in its bucket, a flag, and the number of the bucket.
enum { WAY_FOUND = ADDRESS_WAYS, WAY_BUCKET = 4 };

// find_way returns the way of a key with WAY_FOUND set, or else the first of its bucket. A global function, so that the verifier
// checks its many paths once.
__noinline int find_way(__u64 key)
{
	struct control *c = control();
	if (!c)
		return 0;
	__u32 bucket = bucket_of(c, key);
	struct address_bucket *b = LOOKUP(addresses, bucket);
	if (!b)
		return 0;
#pragma unroll
	for (int i = 0; i < ADDRESS_WAYS; i++)
		if (*(volatile __u64 *)&b->ways[i].key == key && *(volatile __u64 *)&b->ways[i].state)
			return bucket << WAY_BUCKET | WAY_FOUND | i;
	return bucket << WAY_BUCKET;
}

// oldest_way returns the index in a bucket of a free way, or else of the address that was not seen for longest.
__noinline int oldest_way(__u32 bucket, __u32 now)
{
	struct address_bucket *b = LOOKUP(addresses, bucket);
	__s32 age = -1;
	int oldest = 0;
	if (!b)
		return 0;
#pragma unroll
	for (int i = 0; i < ADDRESS_WAYS; i++) {
		__u64 state = *(volatile __u64 *)&b->ways[i].state;
		__s32 this = state ? (__s32)(now - (__u32)(state >> 32)) : 0x7fffffff;
		if (this > age) {
			oldest = i;
			age = this;
		}
	}
	return oldest;
}

// known_address reports whether an address is proved at time now, in seconds.
static __always_inline int known_address(const struct control *c, const __u32 *a, __u8 v6, __u32 now)
{
	__u64 key = address_key(a, v6);
	__u32 way = find_way(key);
	struct address_bucket *b = LOOKUP(addresses, way >> WAY_BUCKET);
	if (!b || !(way & WAY_FOUND))
		return 0;
	__u64 state = *(volatile __u64 *)&b->ways[way & (ADDRESS_WAYS - 1)].state;
	return state && (__s32)(now - (__u32)(state >> 32)) < (__s32)c->address_lifetime;
}

// add_address remembers a proved address with a mark; with keep, the mark that it has stays. It reports whether the address
// was absent or had another mark.
static __always_inline int add_address(const struct control *c, const __u32 *a, __u8 v6, __u32 mark, int keep, __u32 now)
{
	__u64 key = address_key(a, v6), seen = (__u64)now << 32;
	__u32 way = find_way(key);
	struct address_bucket *b = LOOKUP(addresses, way >> WAY_BUCKET);
	if (!b)
		return 0;
	if (!(way & WAY_FOUND))
		way |= oldest_way(way >> WAY_BUCKET, now);
	struct address *e = &b->ways[way & (ADDRESS_WAYS - 1)];
	if (way & WAY_FOUND) {
		__u32 old = *(volatile __u64 *)&e->state;
		*(volatile __u64 *)&e->state = seen | (keep ? old : mark);
		return old != mark;
	}
	*(volatile __u64 *)&e->state = 0; // so that nobody reads the new key with the old time
	*(volatile __u64 *)&e->key = key;
	*(volatile __u64 *)&e->state = seen | mark;
	return 1;
}

// listed returns the entry of the longest prefix that contains an address.
static __always_inline __u32 listed(const struct control *c, const __u32 *a)
{
	if (likely(!c->prefixes))
		return LISTED_NONE;
	struct prefix_key key = {128, {a[0], a[1], a[2], a[3]}};
	__u32 *v = bpf_map_lookup_elem(&prefixes, &key);
	return v ? *v : LISTED_NONE;
}

// take_net takes a token of the network that an address is in: /24 for IPv4, /56 for IPv6.
static __always_inline int take_net(const struct packet *p, const struct service *svc, __u64 now)
{
	__u64 high = (__u64)ntohl(p->saddr[0]) << 32 | ntohl(p->saddr[1]), low = ntohl(p->saddr[3]) & 0xffffff00;
	__u64 h = siphash64(hash_key[0], hash_key[1], svc->id, p->v6 ? high & ~0xffULL : low, 1);
	__u64 *bucket = LOOKUP(net_buckets, h >> 48);
	return !bucket || take(bucket, now, svc->share_cost, svc->share_burst);
}

// within takes a token for a ClientHello from an unproved address, and reports whether there was one. A network above its
// share does not make the guard challenge the others.
static __always_inline int within(const struct packet *p, const struct service *svc, struct service_state *state, __u64 now)
{
	if (!take_net(p, svc, now))
		return 0;
	if (take(&state->engage_bucket, now, svc->engage_cost, svc->engage_burst))
		return 1;
	state->engaged_until = now + ENGAGE_CALM;
	return 0;
}

// Admissions of a first ClientHello: package addresses' outcomes.
enum admitted { ADMITTED_CHALLENGE, ADMITTED_KNOWN, ADMITTED_UNPROVED, ADMITTED_LIMITED };

// admit decides on a ClientHello without a cookie.
static __always_inline int admit(const struct packet *p, const struct service *svc, __u32 index, const struct control *c)
{
	struct service_state *state = LOOKUP(service_states, index);
	if (listed(c, p->saddr) == LISTED_ALLOW || known_address(c, p->saddr, p->v6, coarse_now() / SECOND))
		return ADMITTED_KNOWN;
	if (!(svc->admission & (ADMISSION_LOAD | ADMISSION_LIMIT)) || !state)
		return ADMITTED_CHALLENGE;
	__u64 now = bpf_ktime_get_ns();
	int in = within(p, svc, state, now);
	if (svc->admission & ADMISSION_LIMIT)
		return in ? ADMITTED_UNPROVED : ADMITTED_LIMITED;
	return in && now >= state->engaged_until ? ADMITTED_UNPROVED : ADMITTED_CHALLENGE;
}
