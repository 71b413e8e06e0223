//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// The limits of XDP: programs that do only what any answer or any drop requires.

#include "helpers.h"

char _license[] SEC("license") = "Dual BSD/GPL";

enum { ETH_IPV4 = 0x0800, UDP = 17, ANSWER = 14 + 20 + 8 + 60, DTLS_FIRST = 20, DTLS_LAST = 63 }; // an answer is as long as a HelloVerifyRequest

// swap sends an IPv4 datagram back, cut to the length of an answer. It does not update checksums: that would be work.
SEC("xdp") int swap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end || eth->type != htons(ETH_IPV4) || ip->protocol != UDP || data + ANSWER > end)
		return XDP_PASS;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 t = eth->dst[i];
		eth->dst[i] = eth->src[i];
		eth->src[i] = t;
	}
	__u32 address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	__u16 port = udp->source;
	udp->source = udp->dest;
	udp->dest = port;
	bpf_xdp_adjust_tail(ctx, ANSWER - (int)(end - data));
	return XDP_TX;
}

// look drops what is not DTLS over IPv4, by the first byte of the datagram: the least that a drop of junk must read.
SEC("xdp") int look(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	__u8 *first = (void *)(udp + 1);
	if ((void *)(first + 1) > end || eth->type != htons(ETH_IPV4) || ip->protocol != UDP)
		return XDP_PASS;
	return *first < DTLS_FIRST || *first > DTLS_LAST ? XDP_DROP : XDP_PASS;
}

// drop drops everything.
SEC("xdp") int drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}
