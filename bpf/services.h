// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "hello.h"
#include "maps.h"

// Look-ups: services, flows, trails of fragments, classes of first bytes.

static __always_inline int same_address(const __u32 *a, const __u32 *b)
{
	return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3])) == 0;
}

// find_service takes one array element where a port has one service, and at most two hash look-ups where it
// has several, however many there are.
static __always_inline struct service *find_service(const struct port_use *use, const __u32 *addr, __u16 port, __u8 v6, __u32 *index)
{
	__u32 service = use->service;
	if (likely(service == 0))
		return 0;
	if (likely(service != SHARED_PORT)) {
		struct service *svc = LOOKUP(services, service - 1);
		if (!svc || !(svc->any & (v6 ? ANY_IPV6 : ANY_IPV4) || same_address(svc->addr, addr)))
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

// protected_address reports whether some service has the address. Only for packets whose port is not known.
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

// remember_half_open notes that a peer has proved its address.
static __always_inline long remember_half_open(const __u32 *peer, __u16 port, __u32 service, __u64 now)
{
	struct flow_key key = flow_key(peer, port, service);
	struct flow flow = {now, 0, 0};
	return bpf_map_update_elem(&half_open, &key, &flow, BPF_ANY);
}

// establish_flow notes that a peer has finished its handshake.
static __always_inline long establish_flow(const __u32 *peer, __u16 port, __u32 service, __u64 now)
{
	struct flow_key key = flow_key(peer, port, service);
	struct flow flow = {now, 1, 0};
	long failed = bpf_map_update_elem(&flows, &key, &flow, BPF_ANY);
	if (!failed)
		bpf_map_delete_elem(&half_open, &key);
	return failed;
}

// fresh returns a flow that has not been idle for longer than that, ns, and keeps its time stamp fresh.
static __always_inline struct flow *fresh(struct flow *flow, __u64 idle)
{
	__u64 now = coarse_now(), seen = flow->seen;
	if (idle && now > seen + idle)
		return 0;
	if (now > seen + SEEN_GRAIN)
		flow->seen = now;
	return flow;
}

// known_flow finds an established flow that has not been idle too long.
static __always_inline struct flow *known_flow(const __u32 *peer, __u16 port, __u32 service)
{
	struct flow_key key = flow_key(peer, port, service);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	struct control *c = control();
	return flow && c ? fresh(flow, c->idle) : 0;
}

// known_half_open reports whether the sender of p has proved its address lately. A function that the verifier checks by
// itself.
__noinline int known_half_open(struct packet *p, __u32 service)
{
	struct control *c = control();
	if (!p || !c)
		return 0;
	struct flow_key key = flow_key(p->saddr, p->sport, service);
	struct flow *flow = bpf_map_lookup_elem(&half_open, &key);
	return flow && fresh(flow, c->handshake);
}

static __always_inline void fill_trail(struct trail_key *key, const struct packet *p)
{
	__builtin_memcpy(key->saddr, p->saddr, sizeof(key->saddr));
	__builtin_memcpy(key->daddr, p->daddr, sizeof(key->daddr));
	key->id = p->id;
}

static __always_inline void remember_trail(void *map, const struct packet *p)
{
	struct trail_key key;
	struct trail trail = {coarse_now(), MAX_DATAGRAM};
	fill_trail(&key, p);
	bpf_map_update_elem(map, &key, &trail, BPF_ANY); // if it fails the later fragments are dropped
}

// forget_trail ends the trail of an earlier datagram when a first fragment with its id is dropped: what comes now is of
// this one.
static __always_inline void forget_trail(const struct packet *p)
{
	struct trail_key key;
	fill_trail(&key, p);
	bpf_map_delete_elem(&trails, &key);
	bpf_map_delete_elem(&open_trails, &key);
}

// follow_trail takes the fragment's bytes from the trail. Two CPUs may both take the last ones.
static __always_inline int follow_trail(struct trail *trail, __u32 len)
{
	if (!trail || coarse_now() > trail->since + TRAIL_AGE_SECONDS * 1000000000ULL || trail->left < len)
		return 0;
	trail->left -= len;
	return 1;
}

static __always_inline int known_trail(const struct packet *p)
{
	struct trail_key key;
	fill_trail(&key, p);
	return follow_trail(bpf_map_lookup_elem(&trails, &key), p->len) ||
	       follow_trail(bpf_map_lookup_elem(&open_trails, &key), p->len);
}

// class_of names the classes of a datagram that is not DTLS by its first byte, or of a record by its version.
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
