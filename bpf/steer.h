// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "checksum.h"
#include "limit.h"

// Workers: which one gets a packet, whether it has credit, and how the packet reaches it.

static __always_inline int daemon_lost(const struct control *c)
{
	__u64 limit = c->heartbeat_limit;
	return limit && coarse_now() > c->heartbeat + limit;
}

// pick_worker returns a worker, and sets *cpu to its CPU if the packet must be moved there, else to -1. It prefers the worker
// of the RX CPU, whose caches have the packet.
static __always_inline __u32 pick_worker(const struct packet *p, const struct control *c, __s32 *cpu)
{
	__u32 *own = LOOKUP(cpu_workers, bpf_get_smp_processor_id());
	*cpu = -1;
	if (own && *own)
		return *own - 1;
	__u32 n = c->workers;
	if (n == 0)
		return 0;
	__u32 worker = flow_hash(p) % n, *to = LOOKUP(worker_cpus, worker);
	if (to)
		*cpu = *to;
	return worker;
}

// spend takes one packet of a worker's credit. Two CPUs may both spend the last one; the next grant makes up for it.
static __always_inline int spend(__u32 worker)
{
	struct credit *c = LOOKUP(credits, worker);
	if (!c || (__s64)(*(volatile __u64 *)&c->granted - *(volatile __u64 *)&c->spent) <= 0)
		return 0;
	__sync_fetch_and_add(&c->spent, 1);
	return 1;
}

// to_workers_port rewrites the destination port to the workers' and updates the checksum incrementally (RFC 1624 section 3,
// equation 3): a right one stays right, and the stack does not check the partial one of a local sender.
static __always_inline int to_workers_port(struct xdp_md *ctx, const struct packet *p, const struct service *svc)
{
	struct udphdr *udp = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET);
	if ((void *)(udp + 1) > (void *)(long)ctx->data_end)
		return -1;
	__u16 from = udp->dest, to = htons(svc->workers_port);
	if (udp->check) {
		__u16 check = ~fold((__u64)(__u16)~udp->check + (__u16)~from + to);
		udp->check = check ? check : 0xffff;
	}
	udp->dest = to;
	return 0;
}

static __always_inline int go_to_cpu(__s32 cpu)
{
	if (cpu < 0)
		return XDP_PASS;
	return bpf_redirect_map(&cpus, (__u32)cpu, XDP_PASS); // if there is no such entry, this CPU handles it
}
