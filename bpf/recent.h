// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "maps.h"

// Established flows that were seen within the last SEEN_GRAIN, a few on each CPU: a packet of one of these needs no look-up in the
// table of flows, and nothing to be written there. What the daemon removes from the table is not recent either.

// RECENT_UNIT is the unit of their times, as a power of 2 of ns; RECENT_UNITS is the most that is left of one, rounded up.
enum { RECENT_UNIT = 24, RECENT_UNITS = (SEEN_GRAIN >> RECENT_UNIT) + 1 };
enum { NO_SERVICE = 0 }; // no service has this id

// recent_place returns the only place of a flow. Who collides with another costs both a look-up per packet.
static __always_inline struct recent_flow *recent_place(struct work *w, __u64 high, __u64 low, __u32 port)
{
	return &w->recent[((high ^ low ^ port) * GOLDEN) >> (64 - RECENT_BITS)];
}

// recent returns the service of a recent flow with this peer; NO_SERVICE: there is none.
static __always_inline __u32 recent(struct work *w, const struct control *c, __u64 high, __u64 low, __u32 port)
{
	if (!w)
		return NO_SERVICE;
	const struct recent_flow *r = recent_place(w, high, low, port);
	__u64 other = (r->peer[0] ^ high) | (r->peer[1] ^ low) | (r->port ^ port) | (r->removals ^ c->removals);
	if (other || r->until - (__u32)(tick_time(w) >> RECENT_UNIT) - 1 >= RECENT_UNITS)
		return NO_SERVICE;
	return r->service;
}

// recent_ipv4 is recent for a peer with an IPv4 address.
static __always_inline __u32 recent_ipv4(const struct control *c, __u32 addr, __u32 port)
{
	const union {
		__u32 words[2];
		__u64 low;
	} peer = {{htonl(0xffff), addr}};
	return recent(LOOKUP(scratch, 0), c, 0, peer.low, port);
}

// looked_early reports whether a packet's flow was looked for among the recent ones before it was parsed, if it is plain.
static __always_inline int looked_early(const struct packet *p) { return link_header && !p->v6; }

// is_recent reports whether the flow of a packet is recent, if it was not looked for early.
static __always_inline int is_recent(const struct packet *p, const struct control *c, const struct flow_key *key)
{
	const union {
		__u32 words[4];
		__u64 halves[2];
	} peer = {{key->peer[0], key->peer[1], key->peer[2], key->peer[3]}};
	return !looked_early(p) && recent(LOOKUP(scratch, 0), c, peer.halves[0], peer.halves[1], key->port) == key->service;
}

// note_recent makes a flow of the table recent, whose time stamp is seen; removals is control.removals from before it was looked up.
static __always_inline void note_recent(struct work *w, const struct control *c, const struct flow_key *key, __u64 seen, __u32 removals)
{
	const union {
		__u32 words[4];
		__u64 halves[2];
	} peer = {{key->peer[0], key->peer[1], key->peer[2], key->peer[3]}};
	if (c->idle && c->idle < SEEN_GRAIN)
		return;
	struct recent_flow *r = recent_place(w, peer.halves[0], peer.halves[1], key->port);
	r->until = 0;
	r->peer[0] = peer.halves[0];
	r->peer[1] = peer.halves[1];
	r->port = key->port;
	r->service = key->service;
	r->removals = removals;
	r->until = (seen + SEEN_GRAIN) >> RECENT_UNIT;
}
