// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "formats.h"

// Cookies of a server's own, harvested by the daemon: which of them a ClientHello is given, and must bring. A tag says
// which, a SipHash that never leaves the guard (Key.PoolTag of package cookie). The worker that opens the flow
// verifies again.

// slot_unusable: its cookie is not known, or somebody has the port.
static __always_inline int slot_unusable(const struct slot *slot)
{
	return !*(volatile __u32 *)&slot->length | *(volatile __u32 *)&slot->taken;
}

// holder names the handshake of the tag in w->sip in reservations.
static __always_inline __u32 holder(const struct work *w) { return w->sip.tag[1]; }

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

enum { FIND_DUE, FIND_OFFER };

// find_slot finds a slot for the handshake of the tag in w->sip. Candidates are those usable ones that come first on the
// tag's walk, as places of package handoff finds them. To offer a cookie it is the first candidate that can be reserved
// for the handshake, to verify one the first that is reserved for it; else the first candidate. It leaves it in w->found, and
// returns 0 if there is none. A function that the verifier checks by itself, for its loop.
__noinline int find_slot(struct work *w, __u32 first, __u32 slots, __u32 now, __u32 what)
{
	__u64 i; // of 64 bits, or the verifier loses sight of it where it is spilled
	if (!w)
		return 0;
	w->candidates = 0; // not in a register: the verifier would follow each number through all turns of the loop
	if (slots == 0)
		return 0;
	__u32 at = (w->sip.tag[0] >> 32) * slots >> 32;
	__u32 step = slots > 1 ? 1 + ((w->sip.tag[0] & 0xffffffff) * (slots - 1) >> 32) : 0;
	for (i = 0; i < HARVEST_WALK && i < slots; i++) {
		__u32 index = first + at;
		struct slot *slot = bpf_map_lookup_elem(&harvested, &index);
		// at + step modulo slots, without a branch: the verifier would follow both ways at each turn.
		__s64 over = (__s64)at + step - slots;
		at = over + (slots & (over >> 63));
		if (!slot || slot_unusable(slot))
			continue;
		if (w->candidates++ == 0)
			w->found = index;
		if (what == FIND_OFFER ? reserve(slot, holder(w), now) : (__u32)slot->reserved == holder(w)) {
			w->found = index;
			break;
		}
		if (w->candidates == HARVEST_CHOICES)
			break;
	}
	return w->candidates;
}

// given_is_due reports whether the cookie in w->given, of the given length, is that of the slot that is due. How long
// it takes says nothing about how much of it is right.
static __always_inline int given_is_due(struct work *w, const struct service *svc, __u32 length)
{
	struct slot *slot = find_slot(w, svc->first_slot, svc->slots, 0, FIND_DUE) ? LOOKUP(harvested, w->found) : 0;
	if (!slot)
		return 0;
	__u32 d = length ^ slot->length;
#pragma unroll
	for (int j = 0; j < COOKIE_SIZE / 4; j++)
		d = differs(d, w->given[j], slot->cookie[j]);
	return d == 0;
}

// promise brings the cookie to give to the handshake of the tag in w->sip into w->hash.h, and returns its length, 0 if
// there is none.
static __always_inline __u32 promise(struct work *w, const struct service *svc, const struct control *c)
{
	struct slot *slot = find_slot(w, svc->first_slot, svc->slots, c->clock, FIND_OFFER) ? LOOKUP(harvested, w->found) : 0;
	if (!slot)
		return 0;
#pragma unroll
	for (int i = 0; i < COOKIE_SIZE / 4; i++)
		w->hash.h[i] = ntohl(slot->cookie[i]);
	return slot->length;
}
