// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "addresses.h"
#include "halfopen.h"
#include "harvest.h"
#include "parse.h"
#include "reply.h"
#include "retry.h"
#include "services.h"
#include "steer.h"

// Decisions on ClientHellos: cookies, limits, and who answers.

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
	struct flow_key key = flow_key(p->saddr, p->sport, svc->id);
	struct half_open_flow *flow = half_open_flow(&key, c);
	int counts = verdict == VERDICT_PASS_VERIFIED && !(svc->flags & SERVICE_PROXY) && !flow && !known_flow(&key, c);
	if (counts && !take_half_open(p))
		return VERDICT_DROP_HALF_OPEN;
	if (state && !take(&state->service_bucket, now, svc->service_cost, svc->service_burst)) {
		if (counts)
			return_half_open(p);
		return VERDICT_DROP_SERVICE_RATE;
	}
	if (flow) { // a repetition: its time goes on
		flow->seen = now;
		flow->refused = 0;
	} else if (remember_half_open(p, &key, now))
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
		if (has_flow(p, svc->id, c, 1))
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
