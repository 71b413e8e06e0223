// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "checksum.h"
#include "hello.h"

// Answers with a HelloVerifyRequest.

// unanswerable reports whether an answer could reach a host that did not ask: multicast or broadcast, this host itself, port
// 0, which no client has. The group bit of the MAC address reveals directed broadcasts, whose mask is not known here.
static __always_inline int unanswerable(const struct packet *p)
{
	if (p->sport == 0 || p->group)
		return 1;
	if (p->saddr[0] == p->daddr[0] && p->saddr[1] == p->daddr[1] && p->saddr[2] == p->daddr[2] && p->saddr[3] == p->daddr[3])
		return 1;
	if (!p->v6) {
		__u32 src = ntohl(p->saddr[3]), dst = ntohl(p->daddr[3]), net = src >> 24;
		return net == 0 || net == 127 || net >= 224 || dst >> 28 == 14; // RFC 6890, RFC 5771
	}
	if (ntohl(p->saddr[0]) >> 24 == 0xff || ntohl(p->daddr[0]) >> 24 == 0xff)
		return 1;
	return p->saddr[0] == 0 && p->saddr[1] == 0 && p->saddr[2] == 0; // ::/96 with ::1 (RFC 4291 section 2.5.5.1)
}

static __always_inline void swap_macs(struct ethhdr *eth)
{
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 t = eth->dst[i];
		eth->dst[i] = eth->src[i];
		eth->src[i] = t;
	}
}

static __always_inline void put_ipv4(__u32 *ip, const struct packet *p, __u32 len)
{
	const __u32 df = htonl(0x4000), w2 = htonl(FRESH_TTL << 24 | IPPROTO_UDP << 16);
	__u32 w0 = htonl(0x45000000 | (20 + 8 + len));
	__u64 sum = (__u64)w0 + df + w2 + p->saddr[3] + p->daddr[3];
	ip[0] = w0; // no options: those of the ClientHello do not apply to the answer
	ip[1] = df; // an atomic datagram needs no id (RFC 6864 section 4.1)
	ip[2] = w2;
	((__u16 *)ip)[5] = ~fold(sum);
	ip[3] = p->daddr[3];
	ip[4] = p->saddr[3];
}

static __always_inline void put_ipv6(__u32 *ip, const struct packet *p, __u32 len)
{
	ip[0] = htonl(0x60000000);
	ip[1] = htonl((8 + len) << 16 | IPPROTO_UDP << 8 | FRESH_TTL);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		ip[2 + i] = p->daddr[i];
		ip[6 + i] = p->saddr[i];
	}
}

// put_udp writes the UDP header, a payload of len bytes, and the checksum over both and the pseudo header. question has the
// three words of the ClientHello that the answer copies: record sequence number and message_seq. It writes all 32 bytes of
// a shorter cookie: the zeroes do not change the checksum and are cut off later.
static __always_inline void put_udp(__u32 *udp, const struct packet *p, const __u32 *question, const struct sha256 *s, __u32 len)
{
	__u32 body = len - BODY_AT, size = htonl((8 + len) << 16);
	__u32 ports = htonl((__u32)p->dport << 16 | p->sport), *d = udp + 2;
	__u64 sum = 0;
#pragma unroll
	for (int i = 0; i < 4; i++) // v4-mapped addresses add ffff twice, which does not change the sum
		sum += (__u64)p->saddr[i] + p->daddr[i];
	d[0] = htonl(TYPE_HANDSHAKE << 24 | VERSION_DTLS10 << 8);
	d[1] = question[0];
	d[2] = question[1] & htonl(0xffffff00);
	d[3] = htonl((HANDSHAKE_HEADER + body) << 24 | MSG_HELLO_VERIFY << 16);
	d[4] = htonl(body << 24) | (question[2] & htonl(0x00ffff00));
	d[5] = 0;
	d[6] = htonl(body << 24 | VERSION_DTLS10 << 8 | (len - HELLO_VERIFY_HEAD));
#pragma unroll
	for (int i = 0; i < 8; i++) {
		__u32 c = htonl(s->h[i]);
		d[7 + i] = c;
		sum += c;
	}
	sum += (__u64)d[0] + d[1] + d[2] + d[3] + d[4] + d[6];
	sum += (__u64)ports + size + htonl(IPPROTO_UDP) + htonl(8 + len);
	__u16 check = ~fold(sum);
	udp[0] = ports;
	udp[1] = size;
	((__u16 *)udp)[3] = check ? check : 0xffff; // 0 would mean that there is no checksum (RFC 768)
}

// reply turns the frame into its answer, with the cookie of the given length in s->h, padded with zeroes. The fixed part of
// the datagram d must be readable.
static __always_inline int reply(struct xdp_md *ctx, struct packet *p, const void *d, const struct sha256 *s, __u32 cookie)
{
	__u32 question[3] = {*(__u32 *)(d + 4), *(__u32 *)(d + 8), *(__u32 *)(d + 16)};
	__u64 l3 = p->l3 & MAX_OFFSET, l4 = l3 + (p->v6 ? 40 : 20);
	__u32 size = l4 + 8 + HELLO_VERIFY_HEAD + cookie, frame = bpf_xdp_get_buff_len(ctx);
	if (p->len < HELLO_VERIFY)
		return VERDICT_DROP_BAD_SOURCE; // the answer could be longer than the ClientHello
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	asm volatile("" : "+r"(l3), "+r"(l4)); // else the compiler merges bounds checks that the verifier needs apart
	void *ip = data + l3, *udp = data + l4;
	if (udp + 8 + HELLO_VERIFY > end || data + sizeof(struct ethhdr) > end || ip + 40 > end)
		return VERDICT_DROP_NONLINEAR;
	if (link_header)
		swap_macs(data);
	if (p->v6)
		put_ipv6(ip, p, HELLO_VERIFY_HEAD + cookie);
	else
		put_ipv4(ip, p, HELLO_VERIFY_HEAD + cookie);
	put_udp(udp, p, question, s, HELLO_VERIFY_HEAD + cookie);
	p->answer = HELLO_VERIFY_HEAD + cookie;
	return bpf_xdp_adjust_tail(ctx, (int)size - (int)frame) ? VERDICT_ABORTED : VERDICT_ANSWERED;
}
