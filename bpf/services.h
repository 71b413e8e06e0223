// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "hello.h"
#include "maps.h"
#include "recent.h"

// Look-ups: services, flows, fragmented datagrams, classes of first bytes.

static __always_inline int same_address(const __u32 *a, const __u32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

// has_address reports whether the service is at the address.
static __always_inline int has_address(const struct service *svc, const __u32 *addr, __u8 v6)
{
	return svc->any & (v6 ? ANY_IPV6 : ANY_IPV4) || same_address(svc->addr, addr);
}

// workers_service returns the service whose workers listen at the address and port; 0: none.
static __always_inline struct service *workers_service(const struct port_use *use, const __u32 *addr, __u8 v6, __u32 *index)
{
	if (likely(!use->workers_of))
		return 0;
	struct service *svc = LOOKUP(services, use->workers_of - 1);
	if (!svc || !has_address(svc, addr, v6))
		return 0;
	*index = use->workers_of - 1;
	return svc;
}

// find_service costs one array look-up where a port has one service, and at most two hash look-ups where several services
// share it.
static __always_inline struct service *find_service(const struct port_use *use, const __u32 *addr, __u16 port, __u8 v6, __u32 *index)
{
	__u32 service = use->service;
	if (likely(service == 0))
		return 0;
	if (likely(service != SHARED_PORT)) {
		struct service *svc = LOOKUP(services, service - 1);
		if (!svc || !has_address(svc, addr, v6))
			return 0;
		*index = service - 1;
		return svc;
	}
	struct service_key key = {{addr[0], addr[1], addr[2], addr[3]}, port};
	__u32 *found = bpf_map_lookup_elem(&service_index, &key);
	if (!found) {
		key.addr[0] = key.addr[1] = key.addr[3] = 0;
		key.addr[2] = v6 ? 0 : htonl(0xffff);
		found = bpf_map_lookup_elem(&service_index, &key);
	}
	if (!found)
		return 0;
	struct service *svc = LOOKUP(services, *found);
	if (svc)
		*index = *found;
	return svc;
}

// guarded_on reports whether a service is guarded on the interface that a packet came in by.
static __always_inline int guarded_on(const struct service *svc, __u32 ifindex)
{
	if (likely(!(svc->flags & SERVICE_ONLY_ON)))
		return 1;
	for (int i = 0; i < SERVICE_INTERFACES; i++)
		if (svc->interfaces[i] == ifindex)
			return 1;
	return 0;
}

// protected_address reports whether a service has the address. Only for packets whose port is unknown.
static __always_inline int protected_address(const __u32 *addr, __u8 v6)
{
	struct service_key key = {{addr[0], addr[1], addr[2], addr[3]}, 0};
	if (bpf_map_lookup_elem(&service_index, &key))
		return 1;
	key.addr[0] = key.addr[1] = key.addr[3] = 0;
	key.addr[2] = v6 ? 0 : htonl(0xffff);
	return bpf_map_lookup_elem(&service_index, &key) != 0;
}

static __always_inline struct flow_key flow_key(const __u32 *peer, __u16 port, __u32 service)
{
	struct flow_key key = {{peer[0], peer[1], peer[2], peer[3]}, port, service};
	return key;
}

// fresh reports whether a flow was seen within idle, ns, and updates its time stamp.
static __always_inline int fresh(__u64 *seen, __u64 idle, __u64 now)
{
	__u64 last = *seen;
	if (idle && now > last + idle)
		return 0;
	if (now > last + SEEN_GRAIN)
		*seen = now;
	return 1;
}

// known_flow returns an established flow that has not been idle for too long.
static __always_inline struct flow *known_flow(const struct flow_key *key, const struct control *c)
{
	struct work *w = LOOKUP(scratch, 0);
	__u32 removals = *(volatile __u32 *)&c->removals;
	struct flow *flow = bpf_map_lookup_elem(&flows, key);
	if (!w || !flow || !fresh(&flow->seen, c->idle, tick_time(w)))
		return 0;
	note_recent(w, c, key, flow->seen, removals);
	return flow;
}

static __always_inline void fill_fragment_key(struct fragment_key *key, const struct packet *p)
{
	__builtin_memcpy(key->saddr, p->saddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, p->daddr, sizeof(key->daddr));
	key->id = p->id;
}

static __always_inline void remember_fragment(void *map, const struct packet *p)
{
	struct fragment_key key;
	struct fragmented datagram = {coarse_now(), MAX_DATAGRAM};
	fill_fragment_key(&key, p);
	bpf_map_update_elem(map, &key, &datagram, BPF_ANY); // on failure the later fragments are dropped
}

// forget_fragment forgets an earlier datagram with the same id when a first fragment is dropped: later fragments now belong
// to the dropped one.
static __always_inline void forget_fragment(const struct packet *p)
{
	struct fragment_key key;
	fill_fragment_key(&key, p);
	bpf_map_delete_elem(&service_fragments, &key);
	bpf_map_delete_elem(&other_fragments, &key);
}

// take_fragment spends len bytes of those that may still pass. Two CPUs may both spend the last ones.
static __always_inline int take_fragment(struct fragmented *datagram, __u32 len)
{
	if (!datagram || coarse_now() > datagram->since + FRAGMENT_AGE_SECONDS * 1000000000ULL || datagram->left < len)
		return 0;
	datagram->left -= len;
	return 1;
}

static __always_inline int known_fragment(const struct packet *p)
{
	struct fragment_key key;
	fill_fragment_key(&key, p);
	return take_fragment(bpf_map_lookup_elem(&service_fragments, &key), p->len) ||
	       take_fragment(bpf_map_lookup_elem(&other_fragments, &key), p->len);
}

// class_of returns the classes of a datagram that is not DTLS, by its first byte or its record version.
static __always_inline __u32 class_of(const struct packet *p, __u32 reason)
{
	__u8 b = p->first;
	if (p->len == 0)
		return 0;
	if (reason == REASON_BAD_VERSION)
		return p->version == VERSION_ANYCONNECT ? CLASS_ANYCONNECT : 0;
	if (b < 2)
		return CLASS_STUN | CLASS_CAPWAP;
	if (b < 4)
		return CLASS_STUN;
	if (b < 64)
		return b >= 16 && b < 20 ? CLASS_ZRTP : 0;
	if (b < 80)
		return CLASS_TURN;
	return b < 128 || b >= 192 ? CLASS_QUIC : CLASS_RTP;
}

// note_sender remembers the MAC address that a frame came from, before an answer overwrites it. It writes only addresses
// that are not there yet, so that CPUs share the cache line without contention.
static __always_inline void note_sender(const struct ethhdr *eth)
{
	__u64 mac = 0;
	__builtin_memcpy(&mac, eth->src, sizeof(eth->src));
	__u64 *element = &sender_value.mac[mac * GOLDEN >> (64 - SENDER_BITS)];
	if (unlikely(*element != mac))
		*element = mac;
}
