// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "formats.h"

// Cookies of a server's own, harvested by the daemon: which of them a ClientHello is given, and must bring. What
// format v1 would give it, its tag, says which. The previous secret counts here for as long as it does for any other
// cookie; the worker that opens the flow judges again, and is stricter.

// slot_unusable: its cookie is not known, or somebody has the port.
static __always_inline int slot_unusable(const struct slot *slot)
{
	return !*(volatile __u32 *)&slot->length | *(volatile __u32 *)&slot->taken;
}

// find_slots writes the slots that are candidates of the tag in w->hash into w->found, and returns how many: those
// usable ones that come first on the tag's walk, as places of package handoff finds them. A function that the
// verifier checks by itself, for its loop.
__noinline int find_slots(struct work *w, __u32 first, __u32 slots)
{
	__u64 i, n = 0; // of 64 bits, or the verifier loses sight of them where they are spilled
	if (!w || slots == 0)
		return 0;
	__u32 at = ((__u64)w->hash.h[0] << 40 | (__u64)w->hash.h[1] << 8 | w->hash.h[2] >> 24) % slots; // bytes 1 to 8
	__u32 step = slots > 1 ? 1 + w->hash.h[3] % (slots - 1) : 0;
	for (i = 0; i < HARVEST_WALK && i < slots; i++) {
		__u32 index = first + at;
		struct slot *slot = bpf_map_lookup_elem(&harvested, &index);
		at += step;
		if (at >= slots)
			at -= slots;
		if (!slot || slot_unusable(slot))
			continue;
		w->found[n & (HARVEST_CHOICES - 1)] = index;
		if (++n == HARVEST_CHOICES)
			break;
	}
	return n;
}

// holder names the handshake of the tag in w->hash in reservations.
static __always_inline __u32 holder(const struct work *w) { return w->hash.h[4]; }

// due returns the slot whose cookie the handshake of the tag in w->hash must bring: the first of its candidates
// that is reserved for it, else the first. 0: there is none.
static __always_inline struct slot *due(struct work *w, const struct service *svc)
{
	int n = find_slots(w, svc->first_slot, svc->slots);
	for (int i = 0; i < HARVEST_CHOICES && i < n; i++) {
		struct slot *slot = LOOKUP(harvested, w->found[i]);
		if (slot && (__u32)slot->reserved == holder(w))
			return slot;
	}
	return n > 0 ? LOOKUP(harvested, w->found[0]) : 0;
}

// given_is_due reports whether the cookie in w->given, of the given length, is that of the slot that is due. How long
// it takes says nothing about how much of it is right.
static __always_inline int given_is_due(struct work *w, const struct service *svc, __u32 length)
{
	struct slot *slot = due(w, svc);
	if (!slot)
		return 0;
	__u32 d = length ^ slot->length;
#pragma unroll
	for (int j = 0; j < COOKIE_SIZE / 4; j++)
		d = differs(d, w->given[j], slot->cookie[j]);
	return d == 0;
}

// reserve keeps a slot for a holder, unless it is kept for another one, and reports whether it is the holder's.
static __always_inline int reserve(struct slot *slot, __u32 holder, __u32 now)
{
	__u64 old = *(volatile __u64 *)&slot->reserved;
	if ((__u32)old == holder)
		return 1;
	if (now - (__u32)(old >> 32) < HARVEST_RESERVATION)
		return 0;
	return __sync_val_compare_and_swap(&slot->reserved, old, (__u64)now << 32 | holder) == old;
}

// promise brings the cookie of the first slot that can be reserved for the handshake of the tag in w->hash, of its
// candidates, else of the first of them, into w->hash.h, and returns its length, 0 if there is none.
static __always_inline __u32 promise(struct work *w, const struct service *svc, const struct control *c)
{
	int n = find_slots(w, svc->first_slot, svc->slots);
	struct slot *best = 0;
	for (int i = 0; i < HARVEST_CHOICES && i < n; i++) {
		struct slot *slot = LOOKUP(harvested, w->found[i]);
		if (!slot)
			break;
		if (i == 0)
			best = slot;
		if (reserve(slot, holder(w), c->clock)) {
			best = slot;
			break;
		}
	}
	if (!best)
		return 0;
#pragma unroll
	for (int i = 0; i < COOKIE_SIZE / 4; i++)
		w->hash.h[i] = ntohl(best->cookie[i]);
	return best->length;
}
