// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "reply.h"

// DTLS 1.3: what a ClientHello offers (hello.ReadExtensions), and the guard's own HelloRetryRequest and alert.

// load reads n bytes (1, 2 or 4) of the datagram at offset at into w->bytes, and returns -1 if they are not all there. Bytes
// in the first buffer, which has all of most packets, are read in place: a helper call per extension costs tens of ns each.
static __always_inline int load(struct xdp_md *ctx, const struct packet *p, struct work *w, __u32 at, const __u32 n)
{
	const __u8 *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr) + (at & MAX_IN_PLACE);
	if (likely(d + n <= (const __u8 *)(long)ctx->data_end && at <= MAX_IN_PLACE)) {
		if (n == 4)
			*(__u32 *)w->bytes = *(const __u32 *)d;
		else if (n == 2)
			*(__u16 *)w->bytes = *(const __u16 *)d;
		else
			w->bytes[0] = d[0];
		return 0;
	}
	return bpf_xdp_load_bytes(ctx, p->l4 + sizeof(struct udphdr) + (at & 0xffff), w->bytes, n) ? -1 : 0;
}

// load_list reads a list of n bytes at offset at into w->list, as much as fits, and returns the bytes read, 0 on failure.
// After a shorter list w->list may have bytes that follow it in the datagram.
static __always_inline __u32 load_list(struct xdp_md *ctx, const struct packet *p, struct work *w, __u32 at, __u32 n)
{
	const __u8 *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr) + (at & MAX_IN_PLACE);
	if (n > LIST)
		n = LIST;
	if (likely(d + LIST <= (const __u8 *)(long)ctx->data_end && at <= MAX_IN_PLACE)) {
		((__u64 *)w->list)[0] = ((const __u64 *)d)[0];
		((__u64 *)w->list)[1] = ((const __u64 *)d)[1];
		return n;
	}
	if (!bound_length(&n, LIST) || bpf_xdp_load_bytes(ctx, p->l4 + sizeof(struct udphdr) + (at & 0xffff), w->list, n))
		return 0;
	opaque(n); // else the compiler compares it with 0 before the call, and Linux 6.1 does not see that it cannot be 0
	return n;
}

// read_versions looks for DTLS 1.3 in extension supported_versions, if there is one.
static __always_inline int read_versions(struct xdp_md *ctx, const struct packet *p, struct work *w)
{
	__u32 at = w->offer.versions_at, n = w->offer.versions_len, found = 0;
	if (!at)
		return 0;
	if (n < 3 || load(ctx, p, w, at, 1))
		return -1;
	__u32 size = w->bytes[0];
	if (size != n - 1 || size & 1)
		return -1;
	__u32 here = load_list(ctx, p, w, at + 1, size);
#pragma unroll
	for (int i = 0; i < LIST / 2; i++)
		found |= if_equal(w->list[i], htons(VERSION_DTLS13)) & if_less(2 * i, here);
	w->offer.dtls13 = found & 1;
	return 0;
}

// read_cookie locates the cookie in extension cookie, if there is one.
static __always_inline int read_cookie(struct xdp_md *ctx, const struct packet *p, struct work *w)
{
	__u32 at = w->offer.cookie_at, n = w->offer.cookie_len;
	if (!at)
		return 0;
	if (n < 3 || load(ctx, p, w, at, 2) || be16(w->bytes) != n - 2)
		return -1;
	w->offer.cookie_at = at + 2;
	w->offer.cookie_len = n - 2;
	return 0;
}

// load_head reads the four bytes before an extension's contents. A global function, so that the verifier does not check its paths
// again in each iteration of the loop: that of Linux 6.1 would process ten times as many instructions.
__noinline int load_head(struct xdp_md *ctx, struct packet *p, __u32 at)
{
	struct work *w = LOOKUP(scratch, 0);
	return !p || !w || load(ctx, p, w, at, 4);
}

// find_extensions walks the extensions from w->offer.at to p->stop and notes the offsets of those that matter. A global
// function, so that the verifier checks the loop once; the state is in memory, so that the verifier sees equal iterations.
__noinline int find_extensions(struct xdp_md *ctx, struct packet *p)
{
	struct work *w = LOOKUP(scratch, 0);
	if (!p || !w)
		return -1;
	for (__u64 i = 0; i < MAX_EXTENSIONS_13; i++) {
		__u32 at = w->offer.at, left = p->stop - at;
		if (at >= p->stop)
			return 0;
		if (left < 4 || load_head(ctx, p, at))
			return p->whole ? -1 : 0;
		__u32 head = be32(w->bytes), kind = head >> 16, n = head & 0xffff;
		if (n > left - 4)
			return p->whole ? -1 : 0;
		w->offer.at = at + 4 + n;
		if (kind == EXT_SUPPORTED_VERSIONS) {
			if (w->offer.versions_at)
				return -1;
			w->offer.versions_at = at + 4;
			w->offer.versions_len = n;
		} else if (kind == EXT_COOKIE) {
			if (w->offer.cookie_at)
				return -1;
			w->offer.cookie_at = at + 4;
			w->offer.cookie_len = n;
		}
	}
	return w->offer.at >= p->stop ? 0 : -1;
}

// read_lists reads suites and compression methods, and sets w->offer.at to the extensions. It returns 1 if there are
// extensions, 0 if not, -1 on a malformed ClientHello.
static __always_inline int read_lists(struct xdp_md *ctx, const struct packet *p, struct work *w)
{
	__u32 at = p->cookie_at + p->cookie_len, stop = p->stop, suite = 0;
	if (at + 2 > stop || load(ctx, p, w, at, 2))
		return 0;
	__u32 suites = be16(w->bytes), methods_at = at + 2 + suites;
	if (methods_at >= stop || load(ctx, p, w, methods_at, 2))
		return 0;
	__u32 methods = w->bytes[0], first = w->bytes[1], end = methods_at + 1 + methods;
	if (end > stop)
		return 0;
	w->offer.null = methods == 1 && first == 0;
	__u32 here = load_list(ctx, p, w, at + 2, suites);
#pragma unroll
	for (int i = LIST / 2 - 1; i >= 0; i--) {
		__u32 is = if_equal(ntohs(w->list[i]) >> 8, 0x13) & if_less(2 * i, here);
		suite = (ntohs(w->list[i]) & is) | (suite & ~is);
	}
	w->offer.suite = suite;
	if (end == stop && p->whole)
		return 0;
	if (stop - end < 2 || load(ctx, p, w, end, 2))
		return p->whole ? -1 : 0;
	__u32 n = be16(w->bytes), left = stop - end - 2;
	if (p->whole ? n != left : n < left)
		return -1;
	w->offer.at = end + 2;
	return 1;
}

// read_offer decides how to answer a ClientHello, by the rules of package handoff's mode reset: OFFER_VERIFY, OFFER_NONE, or
// OFFER_RETRY, for which it sets the packet's cookie to that of extension cookie.
__noinline int read_offer(struct xdp_md *ctx, struct packet *p, __u32 admission)
{
	struct work *w = LOOKUP(scratch, 0);
	if (!p || !w)
		return OFFER_NONE;
	__builtin_memset(&w->offer, 0, sizeof(w->offer));
	int ok = read_lists(ctx, p, w);
	if (ok > 0)
		ok = find_extensions(ctx, p);
	if (ok == 0)
		ok = read_versions(ctx, p, w);
	if (ok == 0)
		ok = read_cookie(ctx, p, w);
	int only = !(admission & ADMISSION_DTLS12);
	if (ok < 0)
		return only ? OFFER_NONE : OFFER_VERIFY;
	if (!w->offer.dtls13 && !(only && !w->offer.versions_at && !p->whole))
		return OFFER_VERIFY;
	if (p->cookie_len || !w->offer.suite || !w->offer.null)
		return OFFER_NONE;
	p->retry = 1;
	p->cookie_at = w->offer.cookie_at;
	p->cookie_len = w->offer.cookie_len > 255 ? 255 : w->offer.cookie_len;
	return OFFER_RETRY;
}

// start_answer writes the headers of an answer with size bytes of payload, except the UDP checksum. It returns where the
// payload goes, 0 if the first buffer has no room.
static __always_inline __u32 *start_answer(struct xdp_md *ctx, const struct packet *p, const __u32 size, __u64 *sum)
{
	__u64 l3 = p->l3 & MAX_OFFSET, l4 = l3 + (p->v6 ? 40 : 20);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	asm volatile("" : "+r"(l3), "+r"(l4)); // else the compiler merges bounds checks that the verifier needs apart
	void *ip = data + l3, *udp = data + l4, *eth = data;
	asm volatile("" : "+r"(eth));
	if (eth + sizeof(struct ethhdr) > end || udp + 8 + size > end || ip + 40 > end)
		return 0;
	if (link_header)
		swap_macs(eth);
	__u64 addresses = p->v6 ? put_ipv6(ip, p, size) : put_ipv4(ip, p, size);
	__u32 ports = htonl((__u32)p->dport << 16 | p->sport), length = htonl((8 + size) << 16);
	*(__u32 *)udp = ports;
	*(__u32 *)(udp + 4) = length;
	*sum = addresses + ports + length + htonl(IPPROTO_UDP) + htonl(8 + size);
	return udp + 8;
}

// finish_answer writes the checksum and cuts the frame to the answer's length.
static __always_inline int finish_answer(struct xdp_md *ctx, struct packet *p, __u32 *payload, const __u32 size, __u64 sum)
{
	__u32 length = (p->l3 & MAX_OFFSET) + (p->v6 ? 40 : 20) + 8 + size, frame = frame_length(ctx);
	__u16 check = ~fold(sum);
	((__u16 *)payload)[-1] = check ? check : 0xffff;
	p->answer = size;
	return bpf_xdp_adjust_tail(ctx, (int)length - (int)frame) ? VERDICT_ABORTED : VERDICT_ANSWERED;
}

// put_retry turns the frame into a HelloRetryRequest with the first bytes of w->hash.h as its cookie. For one length of
// cookie all bytes are constant except record sequence number, suite and cookie.
static __always_inline int put_retry(struct xdp_md *ctx, struct packet *p, const struct work *w, const __u32 cookie)
{
	const __u32 size = RETRY_HEAD + cookie, record = size - RECORD_HEADER, body = size - BODY_AT;
	if (p->len < size)
		return VERDICT_DROP_BAD_SOURCE; // the answer would be longer than the ClientHello
	const void *q = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (q + BODY_AT > (void *)(long)ctx->data_end)
		return VERDICT_DROP_NONLINEAR;
	__u32 number = *(__u32 *)(q + 4), low = *(__u32 *)(q + 8) & htonl(0xffffff00);
	__u64 sum;
	__u32 *d = start_answer(ctx, p, size, &sum);
	if (!d)
		return VERDICT_DROP_NONLINEAR;
	const __u32 *h = w->hash.h;
	int i = 0;
#define PUT(word)                     \
	do {                          \
		__u32 word__ = word;  \
		d[i++] = word__;      \
		sum += word__;        \
	} while (0)
	PUT(htonl(0x16fefd00));
	PUT(number);
	PUT(low);
	PUT(htonl(record << 24 | MSG_SERVER_HELLO << 16));
	PUT(htonl(body << 24));
	PUT(0);
	PUT(htonl(body << 24 | 0xfefdcf)); // from here on the random that marks a HelloRetryRequest (RFC 8446 section 4.1.3)
	PUT(htonl(0x21ad74e5));
	PUT(htonl(0x9a6111be));
	PUT(htonl(0x1d8c021e));
	PUT(htonl(0x65b891c2));
	PUT(htonl(0xa211167a));
	PUT(htonl(0xbb8c5e07));
	PUT(htonl(0x9e09e2c8));
	PUT(htonl(0xa8339c00));
	PUT(htonl((__u32)w->offer.suite << 16)); // compression, length of the extensions
	PUT(htonl((12 + cookie) << 24 | 0x2b00)); // supported_versions: fefc
	PUT(htonl(0x02fefc00));
	PUT(htonl(0x2c000000 | (2 + cookie) << 8)); // cookie
	PUT(htonl(cookie << 24 | h[0] >> 8));
#pragma unroll
	for (__u32 j = 0; j < cookie / 4 - 1; j++)
		PUT(htonl(h[j] << 24 | h[j + 1] >> 8));
#undef PUT
	*(__u8 *)(d + i) = h[cookie / 4 - 1];
	sum += htonl(h[cookie / 4 - 1] << 24);
	return finish_answer(ctx, p, d, size, sum);
}

// retry answers with a HelloRetryRequest whose cookie has the given length in bytes.
__noinline int retry(struct xdp_md *ctx, struct packet *p, __u32 cookie)
{
	struct work *w = LOOKUP(scratch, 0);
	if (!p || !w)
		return VERDICT_DROP_BAD_SOURCE;
	if (cookie == COOKIE_SIZE_V2)
		return put_retry(ctx, p, w, COOKIE_SIZE_V2);
	return put_retry(ctx, p, w, COOKIE_SIZE);
}

// reset turns the frame into a fatal alert, on which a client with a proved address starts over.
__noinline int reset(struct xdp_md *ctx, struct packet *p)
{
	if (!p)
		return VERDICT_DROP_BAD_SOURCE;
	const void *q = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (q + BODY_AT > (void *)(long)ctx->data_end)
		return VERDICT_DROP_NONLINEAR;
	__u32 number = *(__u32 *)(q + 4), low = *(__u32 *)(q + 8) & htonl(0xffffff00);
	__u64 sum;
	__u32 *d = start_answer(ctx, p, RESET, &sum);
	if (!d)
		return VERDICT_DROP_NONLINEAR;
	const __u32 first = htonl(TYPE_ALERT << 24 | VERSION_DTLS12 << 8), last = htonl(0x02 << 24 | ALERT_FATAL << 16 | ALERT_INTERNAL_ERROR << 8);
	d[0] = first;
	d[1] = number;
	d[2] = low;
	((__u16 *)d)[6] = htons(0x02 << 8 | ALERT_FATAL);
	((__u8 *)d)[14] = ALERT_INTERNAL_ERROR;
	sum += (__u64)first + number + low + last;
	return finish_answer(ctx, p, d, RESET, sum);
}
