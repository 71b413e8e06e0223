// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "egress.h"

// ClientHellos for the workers of an inline service, between XDP and the stack.
//
// XDP diverts them to the workers' port, which clients cannot reach. This program gives each the service's port back, which
// the host's firewall has a rule for, and names the worker's socket, which overrides the stack's look-up by that port. What
// it does not see, or the kernel refuses to assign, stays on the workers' port and reaches the workers by it.
//
// The stack may lose the socket on the way: TPROXY, IPVS and later programs replace or ignore it. The server must not get an
// unverified ClientHello then, so the datagram's content type becomes ASSIGNED_TYPE, which no protocol has: servers discard
// it (RFC 6347 section 4.1.2.7), and workers read it as a handshake.

// exchange16 replaces a 16-bit word that UDP's checksum covers, both in network order.
static __always_inline int exchange16(struct __sk_buff *skb, const struct packet *p, __u32 at, __u16 from, __u16 to)
{
	__u32 check = p->l4 + __builtin_offsetof(struct udphdr, check);
	if (bpf_l4_csum_replace(skb, check, from, to, sizeof(to) | BPF_F_MARK_MANGLED_0))
		return -1;
	return bpf_skb_store_bytes(skb, at, &to, sizeof(to), 0) ? -1 : 0;
}

// workers_socket takes a reference to a socket of the workers; 0: there is none.
static __always_inline struct bpf_sock *workers_socket(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple tuple = {};
	if (!p->v6) {
		tuple.ipv4.saddr = p->saddr[3];
		tuple.ipv4.daddr = p->daddr[3];
		tuple.ipv4.sport = htons(p->sport);
		tuple.ipv4.dport = htons(p->dport);
		return bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	__builtin_memcpy(tuple.ipv6.saddr, p->saddr, sizeof(p->saddr));
	__builtin_memcpy(tuple.ipv6.daddr, p->daddr, sizeof(p->daddr));
	tuple.ipv6.sport = htons(p->sport);
	tuple.ipv6.dport = htons(p->dport);
	return bpf_sk_lookup_udp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

// assign_to_worker hands over a datagram to the workers' port. A group of sockets chooses one of them by select_worker, when
// the stack takes the socket.
static __always_inline int assign_to_worker(struct __sk_buff *skb, const struct packet *p, const struct service *svc)
{
	__u32 payload = p->l4 + sizeof(struct udphdr);
	__u16 head, marked;
	// A packet of several datagrams would be changed in the first one only.
	if (skb->gso_size || bpf_skb_load_bytes(skb, payload, &head, sizeof(head)) || ((__u8 *)&head)[0] != TYPE_HANDSHAKE)
		return INGRESS_PORT;
	struct bpf_sock *sk = workers_socket(skb, p);
	if (!sk)
		return INGRESS_PORT;
	long refused = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	if (refused)
		return INGRESS_PORT;
	marked = head;
	((__u8 *)&marked)[0] = ASSIGNED_TYPE;
	if (exchange16(skb, p, payload, head, marked) ||
	    exchange16(skb, p, p->l4 + __builtin_offsetof(struct udphdr, dest), htons(p->dport), htons(svc->port)))
		return INGRESS_ERROR;
	return INGRESS_ASSIGNED;
}

// ingress delivers what XDP has diverted to workers, and passes everything else.
SEC("tcx/ingress") int ingress(struct __sk_buff *skb)
{
	struct packet p;
	__u32 index = 0;
	if (parse_tc(skb, &p) != PARSED_UDP)
		return TCX_NEXT;
	struct port_use *use = LOOKUP(ports, p.dport);
	if (!use || likely(!use->workers_of))
		return TCX_NEXT;
	struct service *svc = workers_service(use, p.daddr, p.v6, &index);
	if (!svc || !(svc->flags & SERVICE_ASSIGN))
		return TCX_NEXT;
	__u32 outcome = assign_to_worker(skb, &p, svc);
	struct counters *count = counters(index);
	if (count && outcome < INGRESS_LEN)
		count->ingress[outcome]++;
	return outcome == INGRESS_ERROR ? TCX_DROP : TCX_NEXT;
}
