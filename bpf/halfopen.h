// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "limit.h"
#include "services.h"

// Half-open flows: peers that have presented a valid cookie and not finished their handshake. Inline each takes a token of its
// source and one of its prefix, so that nobody fills their map. The tokens come back when the handshake finishes, or else
// gradually, all of a source's within the handshake timeout.

// give_back undoes take. If other CPUs change the bucket all the time, the token comes back later, as if it had been used.
static __always_inline void give_back(__u64 *bucket, __u64 now, __u64 cost)
{
	for (int i = 0; i < CAS_TRIES; i++) {
		__u64 old = *(volatile __u64 *)bucket;
		if (old <= now || old < cost || __sync_val_compare_and_swap(bucket, old, old - cost) == old)
			return;
	}
}

// source_tokens returns the bucket of an address's source, prefix_tokens that of its prefix, /48 or /24.
static __always_inline __u64 *source_tokens(const __u32 *a, __u8 v6)
{
	__u64 high = (__u64)a[0] << 32 | a[1], low = v6 ? 0 : a[3];
	return LOOKUP(half_open_buckets, HALF_OPEN_SOURCES + (siphash64(hash_key[0], hash_key[1], HALF_OPEN_SOURCES, high, low) >> 48));
}

static __always_inline __u64 *prefix_tokens(const __u32 *a, __u8 v6)
{
	__u64 high = (__u64)a[0] << 32 | a[1], low = v6 ? 0 : a[3] & htonl(0xffffff00);
	high &= v6 ? ~0ULL << 32 | htonl(0xffff0000) : ~0ULL;
	return LOOKUP(half_open_buckets, HALF_OPEN_PREFIXES + (siphash64(hash_key[0], hash_key[1], HALF_OPEN_PREFIXES, high, low) >> 48));
}

// take_half_open takes the tokens of p's sender, both or none, and reports whether they were there. While less than half of all tokens
// are used, each costs less. A global function, as the next one, so that the verifier checks it once.
__noinline int take_half_open(struct packet *p)
{
	struct control *c = control();
	__u64 *all = LOOKUP(half_open_buckets, HALF_OPEN_ALL);
	if (!p || !c || !all || !c->half_open_cost)
		return 1;
	__u64 now = bpf_ktime_get_ns(), cost = c->half_open_cost, burst = c->half_open_burst;
	if (*(volatile __u64 *)all < now + burst / 2)
		cost /= HALF_OPEN_ROOM;
	__u64 *source = source_tokens(p->saddr, p->v6); // first, so that a source over its limit spends nothing of its neighbours'
	if (!source || !take(source, now, cost, burst))
		return !source;
	__u64 *prefix = prefix_tokens(p->saddr, p->v6);
	if (prefix && !take(prefix, now, cost / PREFIX_HALF_OPEN, burst)) {
		give_back(source, now, cost);
		return 0;
	}
	p->taken = cost;
	p->taken_of_all = take(all, now, c->half_open_all_cost, burst) ? c->half_open_all_cost : 0; // without any left, the oldest half-open flow is evicted
	return 1;
}

// return_half_open gives back the tokens of p's sender that p says were taken.
__noinline int return_half_open(struct packet *p)
{
	__u64 *all = LOOKUP(half_open_buckets, HALF_OPEN_ALL), now = bpf_ktime_get_ns();
	if (!p || !all || !p->taken)
		return 0;
	give_back(all, now, p->taken_of_all);
	__u64 *source = source_tokens(p->saddr, p->v6);
	if (source)
		give_back(source, now, p->taken);
	__u64 *prefix = prefix_tokens(p->saddr, p->v6);
	if (prefix)
		give_back(prefix, now, p->taken / PREFIX_HALF_OPEN);
	return 0;
}

// half_open_flow returns a half-open flow whose time is not over.
static __always_inline struct half_open_flow *half_open_flow(const struct flow_key *key, const struct control *c)
{
	struct half_open_flow *flow = bpf_map_lookup_elem(&half_open, key);
	__u64 now = coarse_now();
	if (!flow || (c->handshake && now > flow->born + LONGEST_HANDSHAKE * c->handshake) || !fresh(&flow->seen, c->handshake, now))
		return 0;
	return flow;
}

// has_flow reports whether p's sender has a flow that is established, or may also be half-open.
static __always_inline int has_flow(const struct packet *p, __u32 service, const struct control *c, int or_half_open)
{
	struct flow_key key = flow_key(p->saddr, p->sport, service);
	return is_recent(p, c, &key) || known_flow(&key, c) || (or_half_open && half_open_flow(&key, c));
}

// remember_half_open remembers p's sender, with the tokens that it took.
static __always_inline long remember_half_open(const struct packet *p, const struct flow_key *key, __u64 now)
{
	struct work *w = LOOKUP(scratch, 0); // the stack has no room
	if (!w)
		return -1;
	w->half_open.seen = w->half_open.born = now;
	w->half_open.taken = p->taken;
	w->half_open.taken_of_all = p->taken_of_all;
	return bpf_map_update_elem(&half_open, key, &w->half_open, BPF_ANY);
}

// count_handshake counts a handshake that took so many ns.
__noinline int count_handshake(__u32 service, __u64 took)
{
	struct service_state *state = LOOKUP(service_states, service);
	__u64 steps = took >> HANDSHAKE_STEP;
	__u32 log = 63 - __builtin_clzll(steps | 4);
	__u32 bucket = steps < 4 ? steps : (log - 1) * 4 + (steps >> (log - 2) & 3);
	if (state)
		__sync_fetch_and_add(&state->handshakes[bucket < HANDSHAKE_BUCKETS ? bucket : HANDSHAKE_BUCKETS - 1], 1);
	return 0;
}

// establish_flow remembers p's receiver, which has finished its handshake, and gives back its tokens. It returns a negative number
// if there is no room. p must not be used afterwards.
static __always_inline long establish_flow(struct packet *p, const struct flow_key *key, __u32 service, __u64 now)
{
	struct flow flow = {now, 1, 0};
	long failed = bpf_map_update_elem(&flows, key, &flow, BPF_ANY);
	if (failed)
		return failed;
	struct half_open_flow *was = bpf_map_lookup_elem(&half_open, key);
	if (!was)
		return 0;
	__u64 born = was->born;
	p->taken = was->taken;
	p->taken_of_all = was->taken_of_all;
	__builtin_memcpy(p->saddr, p->daddr, sizeof(p->saddr)); // whose tokens they are
	if (bpf_map_delete_elem(&half_open, key)) // another CPU gives them back
		return 0;
	return_half_open(p);
	count_handshake(service, bpf_ktime_get_ns() - born);
	return 0;
}
