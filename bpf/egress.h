// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "addresses.h"
#include "early.h"
#include "halfopen.h"
#include "parse.h"
#include "services.h"

// Packets that services send, and the choice of a worker's socket.

// rewrite_source replaces the workers' source port by the service's. The helper handles partial checksums, where the field
// covers only the pseudo header and so no port.
static __always_inline int rewrite_source(struct __sk_buff *skb, const struct packet *p, __u16 to)
{
	__u16 from = htons(p->sport), port = htons(to);
	__u32 check = p->l4 + __builtin_offsetof(struct udphdr, check);
	if (bpf_l4_csum_replace(skb, check, from, port, sizeof(port) | BPF_F_MARK_MANGLED_0))
		return -1;
	return bpf_skb_store_bytes(skb, p->l4, &port, sizeof(port), 0) ? -1 : 0;
}

// swap exchanges two adjacent fields of size bytes at offset at.
static __always_inline int swap(struct __sk_buff *skb, __u32 at, __u32 size)
{
	__u8 b[2 * 16]; // IPv6 addresses are the longest
	if (bpf_skb_load_bytes(skb, at, b, 2 * size) || bpf_skb_store_bytes(skb, at, b + size, size, 0))
		return -1;
	return bpf_skb_store_bytes(skb, at + size, b, size, 0);
}

// client_hello_at reports whether the datagram begins with a ClientHello.
static __always_inline int client_hello_at(struct __sk_buff *skb, const struct packet *p)
{
	__u8 head[RECORD_HEADER + 1];
	if (p->len < sizeof(head) || bpf_skb_load_bytes(skb, p->l4 + sizeof(struct udphdr), head, sizeof(head)))
		return 0;
	return head[0] == TYPE_HANDSHAKE && !head[3] && !head[4] && head[RECORD_HEADER] == MSG_CLIENT_HELLO;
}

// reinject swaps the addresses and ports of a verified ClientHello that a worker sent back to its client, so that it enters
// again as the client's and reaches the server. XDP steers it to the worker because only workers can verify the cookie.
// Checksums stay right: a sum does not depend on the order of its words.
static __always_inline int reinject(struct __sk_buff *skb, const struct packet *p)
{
	return (link_header && swap(skb, 0, sizeof(((struct ethhdr *)0)->dst))) || swap(skb, p->l4, sizeof(__u16)) ||
	       (p->v6 ? swap(skb, p->l3 + __builtin_offsetof(struct ipv6hdr, saddr), 16)
		      : swap(skb, p->l3 + __builtin_offsetof(struct iphdr, saddr), 4));
}

// record_epoch says what a record's header tells of the handshake: PROTECTED for epoch 1 or later, DATA if it is application data as
// well, PLAIN if the next record must be looked at, UNKNOWN if there is nothing more to see. The handshake epoch of DTLS 1.3 does not
// count: a server encrypts its first flight with it, to anybody (RFC 9147 section 6.1). Nor does an alert. Only DATA proves the
// client's address: in an abbreviated handshake the server's Finished comes first, and goes to whoever resumes a session of his own
// from a forged address (RFC 5246 section 7.3). Connection IDs hide which of the two it is.
enum record_epoch { RECORD_UNKNOWN, RECORD_PLAIN, RECORD_PROTECTED, RECORD_DATA };

static __always_inline enum record_epoch record_epoch(const __u8 *head)
{
	if (head[0] < DTLS_FIRST || head[0] > DTLS_LAST)
		return RECORD_UNKNOWN;
	if (head[0] >= DTLS13_FIRST)
		return (head[0] & DTLS13_EPOCH) != DTLS13_HANDSHAKE ? RECORD_DATA : RECORD_UNKNOWN;
	if (head[0] == TYPE_CID)
		return RECORD_PROTECTED;
	if (!(head[3] | head[4]))
		return RECORD_PLAIN;
	if (head[0] == TYPE_DATA)
		return RECORD_DATA;
	return head[0] == TYPE_ALERT ? RECORD_UNKNOWN : RECORD_PROTECTED;
}

// later_record looks for a protected record after the first one: a server may send its ChangeCipherSpec and its
// Finished in one datagram. A global function, so that the verifier checks it once.
__noinline int later_record(struct __sk_buff *skb, struct packet *p)
{
	__u8 head[RECORD_HEADER];
	if (!p)
		return 0;
	__u32 at = 0;
	for (int i = 0; i < MAX_RECORDS; i++) {
		if (at + sizeof(head) > p->len || bpf_skb_load_bytes(skb, p->l4 + sizeof(struct udphdr) + at, head, sizeof(head)))
			return 0;
		enum record_epoch e = record_epoch(head);
		if (e != RECORD_PLAIN)
			return e;
		at += sizeof(head) + (head[11] << 8 | head[12]);
	}
	return 0;
}

// protected_record returns PROTECTED or DATA if the datagram has a record of epoch 1 or later.
static __always_inline int protected_record(struct __sk_buff *skb, struct packet *p)
{
	__u8 copy[5];
	const __u8 *head = (void *)(long)skb->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (p->len < RECORD_HEADER)
		return 0;
	if (unlikely(head + sizeof(copy) > (__u8 *)(long)skb->data_end)) { // the payload is not in the first buffer
		if (bpf_skb_load_bytes(skb, p->l4 + sizeof(struct udphdr), copy, sizeof(copy)))
			return 0;
		head = copy;
	}
	enum record_epoch e = record_epoch(head);
	return e == RECORD_PLAIN ? later_record(skb, p) : (int)e;
}

// keep_flow refreshes the proved address of a client; flow is 0 if the client has no flow yet.
static __always_inline void keep_flow(const struct packet *p, struct flow *flow, const struct control *c)
{
	__u32 now = coarse_now() / SECOND;
	if (flow && now - flow->kept < ADDRESS_GRAIN)
		return;
	add_address(c, p->daddr, p->v6, 0, 1, now);
	if (flow)
		flow->kept = now;
}

// refuse_flow reports whether the datagram is an alert that ends the handshake of p's receiver: a fatal one, or a protected one, whose
// level cannot be read, before any other protected record. Of a handshake it reports one.
__noinline int refuse_flow(struct __sk_buff *skb, struct packet *p, __u32 service)
{
	__u8 head[RECORD_HEADER + 1];
	struct control *c = control();
	if (!p || !c || p->len < sizeof(head) || bpf_skb_load_bytes(skb, p->l4 + sizeof(struct udphdr), head, sizeof(head)))
		return 0;
	if (head[0] != TYPE_ALERT || (!(head[3] | head[4]) && head[RECORD_HEADER] != ALERT_FATAL))
		return 0;
	struct flow_key key = flow_key(p->daddr, p->dport, service);
	struct half_open_flow *flow = half_open_flow(&key, c);
	if (!flow || flow->refused)
		return 0;
	flow->refused = 1;
	return 1;
}

// learn_flow remembers peers that the service sends protected records. In a proxy the workers publish their flows instead.
static __always_inline int learn_flow(struct __sk_buff *skb, struct packet *p, const struct service *svc, __u32 index)
{
	struct control *c = control();
	if (!c)
		return EGRESS_ERROR;
	struct flow_key key = flow_key(p->daddr, p->dport, svc->id);
	int record = protected_record(skb, p);
	if (record >= RECORD_PROTECTED && !svc->admission && is_recent(p, c, &key))
		return EGRESS_ESTABLISHED;
	struct flow *flow = known_flow(&key, c);
	if (record < RECORD_PROTECTED)
		return !flow && !(svc->flags & SERVICE_PROXY) && refuse_flow(skb, p, svc->id) ? EGRESS_REFUSED : EGRESS_PLAIN;
	if (svc->admission && record == RECORD_DATA)
		keep_flow(p, flow, c);
	if ((flow && flow->established) || svc->flags & SERVICE_PROXY)
		return EGRESS_ESTABLISHED;
	return establish_flow(p, &key, index, coarse_now()) ? EGRESS_FULL : EGRESS_LEARNED;
}

// parse_skb fills p, which must be zero.
__noinline int parse_skb(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return PARSED_OTHER;
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	int type = parse_link(data, end, p);
	return type <= 0 || p->encapsulated ? PARSED_OTHER : parse_at(data, end, skb->len, p, type);
}

// parse_tc fills p from a packet of the stack. Plain packets are parsed inline, any other by function calls.
static __always_inline int parse_tc(struct __sk_buff *skb, struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	int parsed = parse_plain((void *)(long)skb->data, (void *)(long)skb->data_end, skb->len, p);
	if (likely(parsed == PARSED_UDP || parsed == PARSED_OTHER))
		return parsed;
	__builtin_memset(p, 0, sizeof(*p));
	parsed = parse_skb(skb, p);
	if ((parsed == PARSED_NONLINEAR || parsed == PARSED_UNSEEN) && !bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128)) {
		__builtin_memset(p, 0, sizeof(*p));
		parsed = parse_skb(skb, p);
	}
	return parsed;
}

// leaves_early reports whether a packet is of no service, or a protected record of a recent flow, and counts that. Records of services
// that admit clients by their addresses are left to the rest, which keeps these.
static __always_inline int leaves_early(struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct udphdr *udp = (void *)(ip + 1);
	const __u8 *head = (void *)(udp + 1);
	__u32 index;
	if (!link_header || (const void *)(head + RECORD_HEADER) > end)
		return 0;
	__u32 length = plain_payload(ip, end, skb->len - sizeof(struct ethhdr));
	if (length < RECORD_HEADER)
		return 0;
	const struct port_use *use = LOOKUP(ports, ntohs(udp->source));
	if (!use || use->workers_of)
		return 0;
	if (!use->service)
		return 1;
	const struct service *svc = sole_service(use, ip->saddr, &index);
	if (!svc || svc->admission || record_epoch(head) < RECORD_PROTECTED)
		return 0;
	if (recent_ipv4(control(), ip->daddr, ntohs(udp->dest)) != svc->id)
		return 0;
	struct counters *count = counters(index);
	if (!count)
		return 0;
	add_packet(&count->egress[EGRESS_ESTABLISHED], length);
	return 1;
}

// egress learns from what services send, and gives workers' answers the service's port. Everything passes except
// ClientHellos, which no service sends: those are reinjected for the server.
SEC("tcx/egress") int egress(struct __sk_buff *skb)
{
	if (leaves_early(skb))
		return TCX_NEXT;
	struct packet p;
	__u32 index = 0, outcome;
	if (parse_tc(skb, &p) != PARSED_UDP)
		return TCX_NEXT;
	struct port_use *use = LOOKUP(ports, p.sport);
	if (!use)
		return TCX_NEXT;
	struct service *svc = workers_service(use, p.saddr, p.v6, &index);
	if (svc) {
		int hello = client_hello_at(skb, &p);
		outcome = rewrite_source(skb, &p, svc->port) || (hello && reinject(skb, &p)) ? EGRESS_ERROR
			  : hello						 ? EGRESS_REINJECTED
										 : EGRESS_REWRITTEN;
	} else {
		svc = find_service(use, p.saddr, p.sport, p.v6, &index);
		if (!svc)
			return TCX_NEXT;
		outcome = learn_flow(skb, &p, svc, index);
	}
	struct counters *count = counters(index);
	if (count)
		add_packet(&count->egress[outcome], p.len);
	return outcome == EGRESS_REINJECTED ? bpf_redirect(skb->ifindex, BPF_F_INGRESS) : TCX_NEXT;
}

// first_hello reports whether a datagram is a ClientHello without a cookie. XDP passes only well-formed ones.
static __always_inline int first_hello(const struct udphdr *udp, const void *end)
{
	const __u8 *d = (const void *)(udp + 1);
	if (d + SESSION_ID_AT + 1 > (const __u8 *)end || d[0] != TYPE_HANDSHAKE || d[3] || d[4] || d[RECORD_HEADER] != MSG_CLIENT_HELLO)
		return 0;
	const __u8 *cookie_len = d + SESSION_ID_AT + 1 + (d[SESSION_ID_AT] & 63);
	return cookie_len + 1 <= (const __u8 *)end && *cookie_len == 0;
}

// select_worker picks a worker's socket from the group of its service. A ClientHello without a cookie goes to the worker of
// this CPU, whose caches have it. In a proxy everything else goes by the hash of addresses and ports: one worker keeps the
// flow, and its packets may arrive on several CPUs (a sender's thread on a veth, interrupts that are moved).
SEC("sk_reuseport") int select_worker(struct sk_reuseport_md *ctx)
{
	struct udphdr *udp = ctx->data;
	if ((void *)(udp + 1) > ctx->data_end)
		return SK_PASS;
	struct port_use *use = LOOKUP(ports, ntohs(udp->dest));
	__u32 *own = LOOKUP(cpu_workers, bpf_get_smp_processor_id());
	struct control *c = control();
	if (!use || !own || !c)
		return SK_PASS;
	__u32 service = use->workers_of ? use->workers_of : use->service, outcome = SOCKET_DEFAULT;
	if (service == 0 || service == SHARED_PORT)
		return SK_PASS;
	__u32 worker = *own, n = c->workers;
	if (n && !use->workers_of && !first_hello(udp, ctx->data_end))
		worker = ctx->hash % n + 1;
	__u32 index = (service - 1) * MAX_WORKERS + worker - 1;
	if (worker && !bpf_sk_select_reuseport(ctx, &sockets, &index, 0))
		outcome = SOCKET_SELECTED;
	struct counters *count = counters(service - 1);
	if (count)
		count->socket[outcome]++;
	return SK_PASS;
}
