// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "formats.h"

// Cookies of a server's own, harvested by the daemon: which of them a ClientHello may be given, and may bring. What
// format v1 would give it, its tag, says which.

// slot_unusable: its cookie is not known, or somebody has the port.
static __always_inline int slot_unusable(const struct slot *slot)
{
	return !*(volatile __u32 *)&slot->length | *(volatile __u32 *)&slot->taken;
}

// find_slots writes the slots that the tag in w->hash is mapped to into w->found, and returns how many: those from
// there on that are usable, as candidates of package handoff finds them. A function that the verifier checks by
// itself, for its loop.
__noinline int find_slots(struct work *w, __u32 first, __u32 slots)
{
	__u64 i, n = 0; // of 64 bits, or the verifier loses sight of them where they are spilled
	if (!w || slots == 0)
		return 0;
	__u32 start = ((__u64)w->hash.h[0] << 40 | (__u64)w->hash.h[1] << 8 | w->hash.h[2] >> 24) % slots; // bytes 1 to 8
	for (i = 0; i < HARVEST_WALK && i < slots; i++) {
		__u32 at = start + i;
		at = first + (at < slots ? at : at - slots);
		struct slot *slot = bpf_map_lookup_elem(&harvested, &at);
		if (!slot || slot_unusable(slot))
			continue;
		w->found[n & (HARVEST_CHOICES - 1)] = at;
		if (++n == HARVEST_CHOICES)
			break;
	}
	return n;
}

// given_is_found reports whether the cookie in w->given, of the given length, is that of a slot that the tag in
// w->hash is mapped to. How long it takes says nothing about how much of it is right.
static __always_inline int given_is_found(struct work *w, const struct service *svc, __u32 length)
{
	int n = find_slots(w, svc->first_slot, svc->slots), right = 0;
	for (int i = 0; i < HARVEST_CHOICES && i < n; i++) {
		struct slot *slot = LOOKUP(harvested, w->found[i]);
		if (!slot)
			return 0;
		__u32 d = length ^ slot->length;
#pragma unroll
		for (int j = 0; j < COOKIE_SIZE / 4; j++)
			d = differs(d, w->given[j], slot->cookie[j]);
		right |= d == 0;
	}
	return right;
}

// promise brings the cookie of the slot that was promised longest ago, of those that the tag in w->hash is mapped
// to, into w->hash.h, and returns its length, 0 if there is none. The turn is shared by all CPUs: which of two
// promises is older matters only where clients are few, and there it is not fought for.
static __always_inline __u32 promise(struct work *w, const struct service *svc, struct control *c)
{
	int n = find_slots(w, svc->first_slot, svc->slots);
	struct slot *best = 0;
	for (int i = 0; i < HARVEST_CHOICES && i < n; i++) {
		struct slot *slot = LOOKUP(harvested, w->found[i]);
		if (slot && (!best || (__s32)(slot->promised - best->promised) < 0)) // turns wrap
			best = slot;
	}
	if (!best)
		return 0;
	best->promised = __sync_fetch_and_add(&c->turn, 1) + 1;
#pragma unroll
	for (int i = 0; i < COOKIE_SIZE / 4; i++)
		w->hash.h[i] = ntohl(best->cookie[i]);
	return best->length;
}
