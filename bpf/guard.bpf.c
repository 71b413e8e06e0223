//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

#include "assign.h"
#include "capture.h"
#include "clienthello.h"
#include "early.h"
#include "egress.h"
#include "trust.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// unknown applies the service's policy to a datagram that needs a flow and has none.
static __always_inline int unknown(const struct packet *p, const struct service *svc, __u32 index, __u32 reason)
{
	if (svc->unverified == UNVERIFIED_PASS)
		return VERDICT_PASS_UNVERIFIED;
	if (svc->unverified == UNVERIFIED_DROP)
		return VERDICT_DROP_UNVERIFIED;
	struct service_state *state = LOOKUP(service_states, index);
	if (state && take_unverified(p, svc, state, reason, bpf_ktime_get_ns()))
		return VERDICT_PASS_LIMITED;
	return VERDICT_DROP_LIMITED;
}

// service_packet decides on a packet to a service. Checks without a look-up come first, then ClientHellos, then flows.
static __always_inline int service_packet(struct xdp_md *ctx, struct work *w, const struct service *svc, __u32 index,
					  struct control *c, struct counters *count)
{
	struct packet *p = &w->packet;
	if (unlikely(listed(c, p->saddr) == LISTED_DENY))
		return VERDICT_DROP_DENIED;
	__u32 reason = classify_first_byte(ctx, p);
	if (likely(reason == REASON_OK))
		reason = parse_datagram(ctx, p);
	if (reason >= REASON_LEN)
		return p->fragment ? VERDICT_DROP_FRAGMENT : VERDICT_DROP_NONLINEAR;
	count->reason[reason]++;
	p->reason = reason;
	// Classes need no flow table: the operator names the protocols that share the port, and junk costs no look-up.
	if (svc->pass && (reason == REASON_NOT_DTLS || reason == REASON_BAD_VERSION) && svc->pass & class_of(p, reason))
		return VERDICT_PASS_CLASS;
	if (reason >= REASON_TRUNCATED)
		return VERDICT_DROP_MALFORMED;
	if (reason == REASON_NOT_DTLS)
		return unknown(p, svc, index, reason);
	if (reason == REASON_OK) {
		__u32 cookie = COOKIE_NONE;
		const struct keyring *ring = LOOKUP(keyrings, c->keyring);
		if (!ring)
			return VERDICT_PASS_ERROR;
		int offer = svc->admission & ADMISSION_DTLS13 ? read_offer(ctx, p, svc->admission) : OFFER_VERIFY;
		if (p->cookie_len) {
			if (svc->flags & SERVICE_FLOW_HELLOS && has_flow(p, svc->id, c, 1)) {
				count->cookie[COOKIE_FOREIGN]++;
				return VERDICT_PASS_FLOW;
			}
			cookie = svc->admission & ADMISSION_LIMIT ? COOKIE_FOREIGN : check_cookie(ctx, w, svc, c, ring);
		}
		if (offer == OFFER_NONE && !(svc->admission & ADMISSION_LIMIT))
			return VERDICT_DROP_NO_RETRY;
		if (cookie < COOKIE_LEN)
			count->cookie[cookie]++;
		if (cookie == COOKIE_VALID && !svc->admission)
			return verified(p, index, VERDICT_PASS_VERIFIED);
		return client_hello(ctx, w, svc, index, c, ring, cookie);
	}
	// In a proxy the workers publish their flows, but later fragments of a ClientHello may arrive before that.
	if (has_flow(p, svc->id, c, !(svc->flags & SERVICE_PROXY) || reason == REASON_LATER_FRAGMENT))
		return VERDICT_PASS_FLOW;
	if (reason == REASON_LATER_FRAGMENT)
		return VERDICT_DROP_UNVERIFIED; // useless without the first, which was answered and not passed on
	return unknown(p, svc, index, reason);
}

// finish_fragment lets later IP fragments pass if their first fragment passes. A global function, so that its keys are not on
// the stack of the ingress program.
__noinline int finish_fragment(struct packet *p, __u32 verdict)
{
	if (!p)
		return 0;
	if (verdict <= VERDICT_PASS_LIMITED || verdict == VERDICT_STEERED)
		remember_fragment(&service_fragments, p);
	else
		forget_fragment(p);
	return 0;
}

// later_fragment decides on an IP fragment without ports, to an address that has a service. A few may arrive before their
// first fragment, the only one that can be classified: without it nobody can reassemble them.
static __always_inline int later_fragment(const struct packet *p)
{
	if (p->routed)
		return VERDICT_DROP_EXTENSIONS;
	__u64 *bucket = LOOKUP(fragment_bucket, 0);
	if (known_fragment(p) || (bucket && take(bucket, bpf_ktime_get_ns(), EARLY_FRAGMENT_COST, EARLY_FRAGMENT_COST * EARLY_FRAGMENT_BURST)))
		return VERDICT_PASS_FRAGMENT;
	return VERDICT_DROP_FRAGMENT;
}

// no_udp decides on a packet without ports, whose service cannot be looked up. A global function, to save stack.
__noinline int no_udp(struct packet *p, int parsed)
{
	if (!p || parsed == PARSED_UNSEEN)
		return VERDICT_DROP_UNSEEN;
	if (parsed == PARSED_OTHER) {
		if (p->fragment && protected_address(p->daddr, p->v6)) // an IPv6 later fragment does not name its protocol
			remember_fragment(&other_fragments, p);
		return VERDICT_PASS_UNPROTECTED;
	}
	// A source-routed packet may end at another address than its header names.
	if (!p->routed && !protected_address(p->daddr, p->v6))
		return VERDICT_PASS_UNPROTECTED;
	if (parsed == PARSED_LATER_FRAGMENT)
		return later_fragment(p);
	return parsed == PARSED_EXTENSIONS ? VERDICT_DROP_EXTENSIONS : VERDICT_DROP_NONLINEAR;
}

// no_service decides on UDP packets to no protected service.
static __always_inline int no_service(const struct packet *p, const struct port_use *use)
{
	__u32 index;
	if (use && use->workers_of && (p->routed || workers_service(use, p->daddr, p->v6, &index)))
		return VERDICT_DROP_WORKERS_PORT;
	if (use && use->service && p->routed) // the route may end at the service
		return VERDICT_DROP_EXTENSIONS;
	if (p->fragment && protected_address(p->daddr, p->v6))
		remember_fragment(&other_fragments, p);
	return VERDICT_PASS_UNPROTECTED;
}

// parse_link_xdp is parse_link. It and parse_ip_xdp are global functions, so that the verifier does not check the code after
// them again for each path through the headers.
__noinline int parse_link_xdp(struct xdp_md *ctx, struct packet *p)
{
	if (!p)
		return 0;
	__builtin_memset(p, 0, sizeof(*p));
	return parse_link((void *)(long)ctx->data, (void *)(long)ctx->data_end, p);
}

// parse_ip_xdp is parse_at.
__noinline int parse_ip_xdp(struct xdp_md *ctx, struct packet *p, __u32 type)
{
	if (!p)
		return PARSED_OTHER;
	return parse_at((void *)(long)ctx->data, (void *)(long)ctx->data_end, frame_length(ctx), p, type);
}

// parse_slow fills p from a packet that is not plain.
static __always_inline int parse_slow(struct xdp_md *ctx, struct packet *p)
{
	int type = parse_link_xdp(ctx, p);
	if (type <= 0)
		return type ? PARSED_UNSEEN : PARSED_OTHER;
	int parsed = parse_ip_xdp(ctx, p, type);
	for (int i = 0; i < MAX_NESTED && parsed == PARSED_INNER; i++)
		parsed = parse_ip_xdp(ctx, p, enter_inner(p));
	return parsed == PARSED_INNER ? PARSED_UNSEEN : parsed;
}

// parse_xdp fills p. Plain packets are parsed inline, any other by function calls.
static __always_inline int parse_xdp(struct xdp_md *ctx, struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	int parsed = parse_plain((void *)(long)ctx->data, (void *)(long)ctx->data_end, ctx->data_end - ctx->data, p);
	return likely(parsed != PARSED_NOT_PLAIN) ? parsed : parse_slow(ctx, p);
}

// dtlsguard is the ingress program. Every packet is counted once under its verdict.
SEC("xdp") int dtlsguard(struct xdp_md *ctx)
{
	int early = decide_early(ctx);
	if (early != LATE)
		return early;
	struct work *w = LOOKUP(scratch, 0);
	if (!w)
		return XDP_PASS;
	struct packet *p = &w->packet;
	struct port_use *use = 0;
	struct service *svc = 0;
	struct control *c = control();
	struct counters *count;
	__u32 index = no_service_index, verdict;
	int parsed = parse_xdp(ctx, p);
	int udp = parsed == PARSED_UDP || parsed == PARSED_BAD;
	p->cpu = -1;
	if (likely(udp))
		use = LOOKUP(ports, p->dport);
	if (use)
		svc = find_service(use, p->daddr, p->dport, p->v6, &index);
	if (svc && !guarded_on(svc, ctx->ingress_ifindex)) {
		svc = 0;
		index = no_service_index;
	}
	count = counters(index);
	if (!count || !c)
		return XDP_PASS;
	if (svc) {
		if (link_header && (void *)(long)ctx->data + sizeof(struct ethhdr) <= (void *)(long)ctx->data_end)
			note_sender((void *)(long)ctx->data);
		if (unlikely(c->capturing))
			copy_sample(ctx, p, index);
	}
	if (unlikely(!udp))
		verdict = parsed == PARSED_OTHER && !p->fragment ? VERDICT_PASS_UNPROTECTED : no_udp(p, parsed);
	else if (!svc)
		verdict = no_service(p, use);
	else if (unlikely(p->encapsulated))
		verdict = VERDICT_DROP_ENCAPSULATED;
	else if (unlikely(parsed == PARSED_BAD))
		verdict = VERDICT_DROP_BAD_IP;
	else
		verdict = service_packet(ctx, w, svc, index, c, count);
	asm volatile("" : "+r"(verdict)); // else the compiler drops a check that the verifier needs
	if (verdict < VERDICT_LEN)
		add_packet(&count->verdict[verdict], p->len);
	if (p->answer)
		count->answer_bytes += p->answer;
	if (unlikely(p->sampled)) // in p, because this function has no stack left: Linux 6.1 allows 512 bytes for nested calls
		send_sample(p, verdict);
	if (svc && svc->flags & SERVICE_MONITOR)
		return XDP_PASS;
	if (svc && unlikely(p->fragment))
		finish_fragment(p, verdict);
	if (verdict == VERDICT_STEERED || verdict <= VERDICT_PASS_ERROR)
		return go_to_cpu(p->cpu);
	if (verdict == VERDICT_ANSWERED || verdict == VERDICT_RESET)
		return XDP_TX;
	return verdict == VERDICT_ABORTED ? XDP_ABORTED : XDP_DROP;
}
