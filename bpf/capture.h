// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "limit.h"

// Samples of packets to services, with their verdicts, for a capture that the daemon has switched on.

// room_in reports whether a bucket has a token, and takes none.
static __always_inline int room_in(const __u64 *bucket, __u64 now, __u64 cost, __u64 burst)
{
	__u64 old = *(const volatile __u64 *)bucket, full = old > now ? old : now;
	return full + cost <= now + burst;
}

// copy_sample copies the packet before it is changed, if a sample may be taken.
__noinline int copy_sample(struct xdp_md *ctx, struct packet *p, __u32 index)
{
	struct capture_filter *c = LOOKUP(capture, 0);
	struct packet_sample *s = LOOKUP(sample, 0);
	if (!p || !c || !s || (c->service && c->service != index + 1))
		return 0;
	s->time = bpf_ktime_get_ns();
	if (!room_in(&c->bucket, s->time, c->cost, c->burst))
		return 0;
	s->length = bpf_xdp_get_buff_len(ctx);
	__u32 n = s->length;
	if (n > SNAP)
		n = SNAP;
	if (n == 0)
		return 0;
	n = ((n - 1) & (SNAP - 1)) + 1; // which is n, and what the verifier of 6.1 can follow
	asm volatile("" : "+r"(n));
	s->service = index;
	p->sampled = !bpf_xdp_load_bytes(ctx, 0, s->bytes, n);
	return 0;
}

// send_sample sends what copy_sample has copied to the daemon, if the capture wants its verdict.
__noinline int send_sample(struct packet *p, __u32 verdict)
{
	struct capture_filter *c = LOOKUP(capture, 0);
	struct packet_sample *s = LOOKUP(sample, 0);
	if (!p || !c || !s || verdict >= VERDICT_LEN || !(c->verdicts >> verdict & 1))
		return 0;
	if (verdict == VERDICT_DROP_MALFORMED && !(c->reasons >> (p->reason & 31) & 1))
		return 0;
	if (!take(&c->bucket, s->time, c->cost, c->burst))
		return 0;
	s->l4 = p->l4;
	s->verdict = verdict;
	s->reason = p->reason;
	__builtin_memcpy(s->saddr, p->saddr, sizeof(s->saddr));
	if (bpf_ringbuf_output(&captured, s, sizeof(*s), 0))
		__sync_fetch_and_add(&c->lost, 1);
	return 1;
}
