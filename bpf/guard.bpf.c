//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

#include "capture.h"
#include "parse.h"
#include "services.h"
#include "steer.h"
#include "harvest.h"
#include "reply.h"
#include "retry.h"
#include "addresses.h"
#include "egress.h"
#include "trust.h"

char _license[] SEC("license") = "Dual BSD/GPL";

// to_worker steers a ClientHello to a worker that has credit.
static __always_inline int to_worker(struct xdp_md *ctx, struct packet *p, const struct service *svc, const struct control *c)
{
	__s32 cpu;
	__u32 worker = pick_worker(p, c, &cpu);
	// In a proxy the stack reassembles the datagram. Inline, its later fragments, which have no ports, would go to the server.
	if (p->fragment && !(svc->flags & SERVICE_PROXY))
		return VERDICT_DROP_FRAGMENTED_HELLO;
	if (!spend(worker))
		return VERDICT_DROP_NO_CREDIT;
	if (svc->flags & SERVICE_MONITOR)
		return VERDICT_STEERED;
	if (!(svc->flags & SERVICE_PROXY) && to_workers_port(ctx, p, svc))
		return VERDICT_PASS_ERROR;
	if (!p->fragment) // all fragments must be reassembled on the CPU of the first
		p->cpu = cpu;
	return VERDICT_STEERED;
}

static __always_inline int lost(const struct control *c)
{
	return c->pass_when_lost ? VERDICT_PASS_DAEMON_LOST : VERDICT_DROP_DAEMON_LOST;
}

// answer_here sends the HelloVerifyRequest.
static __always_inline int answer_here(struct xdp_md *ctx, struct packet *p, const void *d, const struct service *svc,
				       struct control *c, const struct keyring *ring, struct work *w)
{
	if (!c->has_secret || (c->secret_until && coarse_now() > c->secret_until))
		return lost(c);
	if (c->answer_cost) {
		__u64 *bucket = LOOKUP(answer_bucket, 0);
		if (bucket && !take(bucket, bpf_ktime_get_ns(), c->answer_cost, c->answer_burst))
			return VERDICT_DROP_ANSWER_RATE;
	}
	if (svc->flags & SERVICE_MONITOR)
		return VERDICT_ANSWERED;
	if (!p->computed)
		make_cookie(w, p, d, svc, &ring->current);
	__u32 length = svc->format != FORMAT_HARVEST ? computed_size(svc) : offer_harvested(w, svc, c);
	if (length == 0 || length > COOKIE_SIZE)
		return VERDICT_DROP_NO_COOKIE;
	return p->retry ? retry(ctx, p, length) : reply(ctx, p, d, &w->hash, length);
}

// verified passes a ClientHello with a valid cookie, within the limits, and remembers its sender as half-open.
__noinline int verified(struct packet *p, __u32 index, __u32 verdict)
{
	__u64 now = bpf_ktime_get_ns();
	struct service *svc = LOOKUP(services, index);
	struct service_state *state = LOOKUP(service_states, index);
	struct control *c = control();
	if (!p || !svc || !c)
		return VERDICT_PASS_ERROR;
	if (!take_source(p, svc, now))
		return VERDICT_DROP_SOURCE_RATE;
	// Only a cookie proves whose tokens these are, and in a proxy workers count. A client that has a flow takes no token, because
	// nothing would give it back.
	int counts = verdict == VERDICT_PASS_VERIFIED && !(svc->flags & SERVICE_PROXY) && !known_half_open(p, svc->id, c) &&
		     !known_flow(p->saddr, p->sport, svc->id, c);
	if (counts && !half_open_tokens(p, HALF_OPEN_TAKE))
		return VERDICT_DROP_HALF_OPEN;
	if (state && !take(&state->service_bucket, now, svc->service_cost, svc->service_burst)) {
		if (counts)
			half_open_tokens(p, HALF_OPEN_UNTAKE);
		return VERDICT_DROP_SERVICE_RATE;
	}
	if (remember_half_open(p->saddr, p->sport, svc->id, now))
		return VERDICT_PASS_ERROR;
	return verdict;
}

// prove remembers the address of a client with a valid cookie and sends the alert that makes the client start over. A
// repeated ClientHello is answered once.
static __always_inline int prove(struct xdp_md *ctx, struct packet *p, const struct service *svc, const struct control *c)
{
	const void *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (unanswerable(p))
		return VERDICT_DROP_BAD_SOURCE;
	if (d + RANDOM_AT + 4 > (void *)(long)ctx->data_end)
		return VERDICT_DROP_NONLINEAR;
	__u32 mark = be32(d + 7) ^ __builtin_bswap32(be32(d + RANDOM_AT));
	if (svc->flags & SERVICE_MONITOR)
		return VERDICT_RESET;
	if (!add_address(c, p->saddr, p->v6, mark, 0, bpf_ktime_get_ns() / SECOND))
		return VERDICT_DROP_RESET_BEFORE;
	int v = reset(ctx, p);
	return v == VERDICT_ANSWERED ? VERDICT_RESET : v;
}

// first_or_proved decides on ClientHellos of a service in mode reset. It returns VERDICT_LEN for one that must be
// challenged. A global function, so that the verifier checks it once.
__noinline int first_or_proved(struct xdp_md *ctx, struct packet *p, __u32 index, __u32 cookie)
{
	struct service *svc = LOOKUP(services, index);
	struct control *c = control();
	if (!p || !svc || !c)
		return VERDICT_PASS_ERROR;
	if (cookie == COOKIE_VALID && !(svc->admission & ADMISSION_LIMIT))
		return prove(ctx, p, svc, c);
	if (cookie != COOKIE_NONE && !(svc->admission & ADMISSION_LIMIT))
		return p->retry ? VERDICT_DROP_BAD_RETRY : VERDICT_LEN; // no second HelloRetryRequest (RFC 8446 section 4.1.4)
	switch (admit(p, svc, index, c)) {
	case ADMITTED_KNOWN:
		return verified(p, index, VERDICT_PASS_ADDRESS);
	case ADMITTED_UNPROVED:
		return verified(p, index, VERDICT_PASS_UNPROVED);
	case ADMITTED_LIMITED:
		if (known_flow(p->saddr, p->sport, svc->id, c) || known_half_open(p, svc->id, c))
			return VERDICT_PASS_FLOW;
		return VERDICT_DROP_HELLO_LIMIT;
	}
	return VERDICT_LEN;
}

// check_cookie verifies the cookie of a ClientHello. A cookie of the guard's own formats names its key. Any other is
// compared under the previous key first and the current key last, so that after a failure the current cookie, which the
// answer needs, is already computed.
static __always_inline int check_cookie(struct xdp_md *ctx, struct work *w, const struct service *svc, const struct control *c,
					const struct keyring *ring)
{
	struct packet *p = &w->packet;
	const void *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (svc->format == FORMAT_WORKERS || d + RANDOM_AT + 32 > (void *)(long)ctx->data_end || load_presented(ctx, p, svc, w))
		return COOKIE_FOREIGN;
	enum cookie_state state = COOKIE_EXPIRED;
	for (int i = 0; i < 2; i++) {
		const struct key *k = i ? &ring->current : &ring->previous;
		if (!k->valid || ((svc->format == FORMAT_V1 || svc->format == FORMAT_V2) && k->epoch != *(__u8 *)w->presented))
			continue;
		if (!i && svc->format == FORMAT_HARVEST && c->grace_until && coarse_now() > c->grace_until)
			continue;
		make_cookie(w, p, d, svc, k);
		p->computed = i;
		if (svc->format == FORMAT_HARVEST ? presented_is_expected(w, svc, p->cookie_len) : presented_is_computed(w))
			return COOKIE_VALID;
		state = COOKIE_WRONG;
	}
	return state;
}

// client_hello decides on a ClientHello without a valid cookie, by the service's choice of who answers.
static __always_inline int client_hello(struct xdp_md *ctx, struct work *w, const struct service *svc, __u32 index,
					struct control *c, const struct keyring *ring, __u32 cookie)
{
	struct packet *p = &w->packet;
	if (svc->admission) {
		int v = first_or_proved(ctx, p, index, cookie);
		if (v != VERDICT_LEN)
			return v;
	}
	if (unanswerable(p))
		return VERDICT_DROP_BAD_SOURCE;
	if (svc->answer == ANSWER_DROP)
		return VERDICT_DROP_ANSWER_OFF;
	if (svc->answer != ANSWER_XDP) {
		int v = daemon_lost(c) ? lost(c) : to_worker(ctx, p, svc, c);
		if (v == VERDICT_STEERED || v == VERDICT_PASS_ERROR)
			return v;
		if (svc->answer == ANSWER_WORKERS && (v != VERDICT_DROP_FRAGMENTED_HELLO || svc->format == FORMAT_WORKERS))
			return v;
		// What no worker takes is answered here: nothing has been written yet.
	}
	const void *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (d + RANDOM_AT + 32 > (void *)(long)ctx->data_end)
		return VERDICT_PASS_ERROR;
	return answer_here(ctx, p, d, svc, c, ring, w);
}

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
			if (svc->flags & SERVICE_FLOW_HELLOS &&
			    (known_flow(p->saddr, p->sport, svc->id, c) || known_half_open(p, svc->id, c))) {
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
	int or_half_open = !(svc->flags & SERVICE_PROXY) || reason == REASON_LATER_FRAGMENT;
	if (known_flow(p->saddr, p->sport, svc->id, c) || (or_half_open && known_half_open(p, svc->id, c)))
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
	return parse_at((void *)(long)ctx->data, (void *)(long)ctx->data_end, bpf_xdp_get_buff_len(ctx), p, type);
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
	int parsed = parse_plain((void *)(long)ctx->data, (void *)(long)ctx->data_end, p);
	return likely(parsed != PARSED_NOT_PLAIN) ? parsed : parse_slow(ctx, p);
}

// note_sender remembers the MAC address that a frame came from, before an answer overwrites it. It writes only addresses
// that are not there yet, so that CPUs share the cache line without contention.
static __always_inline void note_sender(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data;
	struct sender_table *s = LOOKUP(senders, 0);
	if (!s || data + sizeof(struct ethhdr) > (void *)(long)ctx->data_end)
		return;
	__u64 mac = 0;
	const struct ethhdr *eth = data;
	__builtin_memcpy(&mac, eth->src, sizeof(eth->src));
	__u64 *element = &s->mac[mac * 0x9e3779b97f4a7c15 >> (64 - SENDER_BITS)]; // Fibonacci hashing
	if (unlikely(*element != mac))
		*element = mac;
}

// dtlsguard is the ingress program. Every packet is counted once under its verdict.
SEC("xdp") int dtlsguard(struct xdp_md *ctx)
{
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
		note_sender(ctx);
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
		count->verdict[verdict]++;
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
