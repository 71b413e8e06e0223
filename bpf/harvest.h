// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "formats.h"

// Harvested cookies: the server's own, which the daemon asked for. Here the entry is chosen whose cookie a ClientHello is
// offered, or must present. A tag selects it, a SipHash that never leaves the guard (Key.PoolTag of package cookie). The
// worker that opens the flow verifies again.

// entry_unusable reports whether the cookie is unknown or a flow uses the port.
static __always_inline int entry_unusable(const struct pool_entry *entry)
{
	return !*(volatile __u32 *)&entry->length | *(volatile __u32 *)&entry->taken;
}

// holder identifies the handshake of the tag in w->sip in reservations.
static __always_inline __u32 holder(const struct work *w) { return w->sip.tag[1]; }

// reserve reserves an entry for a holder, unless another one has reserved it, and reports whether the holder has it.
static __always_inline int reserve(struct pool_entry *entry, __u32 holder, __u32 now)
{
	__u64 old = *(volatile __u64 *)&entry->reserved;
	if ((__u32)old == holder)
		return 1;
	if (now - (__u32)(old >> 32) < HARVEST_RESERVATION)
		return 0;
	return __sync_val_compare_and_swap(&entry->reserved, old, (__u64)now << 32 | holder) == old;
}

enum { FIND_EXPECTED, FIND_OFFER };

// find_entry leaves in w->candidate an entry for the handshake of the tag in w->sip, and returns 0 if there is none. The
// candidates are the first usable entries on the tag's walk; package handoff walks the same way. An offer takes the first
// candidate that can be reserved for the handshake, a verification the first that is reserved for it. Without one, both
// take the first candidate. A global function, so that the verifier checks the loop once.
__noinline int find_entry(struct work *w, __u32 first, __u32 entries, __u32 now, __u32 what)
{
	__u64 i; // 64 bits: the verifier loses the bounds of a spilled 32-bit one
	if (!w)
		return 0;
	w->candidates = 0; // in memory: in a register the verifier would follow each value through every iteration
	if (entries == 0)
		return 0;
	__u32 at = (w->sip.tag[0] >> 32) * entries >> 32;
	__u32 step = entries > 1 ? 1 + ((w->sip.tag[0] & 0xffffffff) * (entries - 1) >> 32) : 0;
	for (i = 0; i < HARVEST_WALK && i < entries; i++) {
		__u32 index = first + at;
		struct pool_entry *entry = bpf_map_lookup_elem(&harvested, &index);
		at += step;
		at -= entries & ~if_less(at, entries);
		if (!entry || entry_unusable(entry))
			continue;
		if (w->candidates++ == 0)
			w->candidate = index;
		if (what == FIND_OFFER ? reserve(entry, holder(w), now) : (__u32)entry->reserved == holder(w)) {
			w->candidate = index;
			break;
		}
		if (w->candidates == HARVEST_CHOICES)
			break;
	}
	return w->candidates;
}

// presented_is_expected compares the cookie in w->presented, of the given length, with the one expected of this handshake,
// in constant time.
static __always_inline int presented_is_expected(struct work *w, const struct service *svc, __u32 length)
{
	struct pool_entry *entry = find_entry(w, svc->first_entry, svc->entries, 0, FIND_EXPECTED) ? LOOKUP(harvested, w->candidate) : 0;
	if (!entry)
		return 0;
	__u32 d = length ^ entry->length;
#pragma unroll
	for (int j = 0; j < COOKIE_SIZE / 4; j++)
		d = differs(d, w->presented[j], entry->cookie[j]);
	return d == 0;
}

// offer_harvested loads the cookie for the handshake of the tag in w->sip into w->hash.h and returns its length, 0 if there
// is none.
static __always_inline __u32 offer_harvested(struct work *w, const struct service *svc, const struct control *c)
{
	struct pool_entry *entry = find_entry(w, svc->first_entry, svc->entries, c->clock, FIND_OFFER) ? LOOKUP(harvested, w->candidate) : 0;
	if (!entry)
		return 0;
#pragma unroll
	for (int i = 0; i < COOKIE_SIZE / 4; i++)
		w->hash.h[i] = ntohl(entry->cookie[i]);
	return entry->length;
}
