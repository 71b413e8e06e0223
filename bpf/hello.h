// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// The wire rules of hello.Parse, reason for reason; the order of the checks is part of the rules.

// HELLO_NONLINEAR: the first buffer does not have the bytes to parse.
enum { HELLO_NONLINEAR = REASON_LEN };

static __always_inline __u32 be16(const void *p) { return ntohs(*(const __u16 *)p); }
static __always_inline __u32 be32(const void *p) { return ntohl(*(const __u32 *)p); }
static __always_inline __u32 be24(const void *p) { return *(const __u8 *)p << 16 | be16(p + 1); }

// dtls_version accepts any minor version: the server answers with its own (RFC 5246 appendix E.1).
static __always_inline int dtls_version(__u32 v) { return v >> 8 == VERSION_MAJOR; }

// classify_short returns the reason of a datagram whose first record is not a handshake message, or too short for one.
static __always_inline int classify_short(struct packet *p, void *d, void *end, __u32 len)
{
	__u8 first = *(__u8 *)d;
	if (len < RECORD_HEADER)
		return REASON_TRUNCATED;
	if (d + RECORD_HEADER > end)
		return HELLO_NONLINEAR;
	if (first >= DTLS13_FIRST)
		return REASON_ENCRYPTED;
	p->version = be16(d + 1);
	if (!dtls_version(p->version))
		return REASON_BAD_VERSION;
	if (first == TYPE_CID || be16(d + 3) != 0)
		return REASON_ENCRYPTED;
	return first == TYPE_HANDSHAKE ? REASON_TRUNCATED : REASON_NOT_HELLO;
}

// read_bytes reads n bytes at d + off, also from later buffers. It returns -1 past the frame's end: the packet is then an IP
// fragment, because p->len was checked for a whole datagram.
static __always_inline int read_bytes(struct xdp_md *ctx, void *d, void *end, __u32 start, __u32 off, __u8 *to, __u32 n)
{
	if (likely(d + off + n <= end)) {
		to[0] = *(__u8 *)(d + off);
		if (n == 2)
			to[1] = *(__u8 *)(d + off + 1);
		return 0;
	}
	return bpf_xdp_load_bytes(ctx, start + off, to, n) ? -1 : 0;
}

// parse_lists checks the lengths of cipher suites and compression methods, as far as this fragment has them. The fragment
// ends at stop, the message at message_end, both counted from d.
static __always_inline int parse_lists(struct xdp_md *ctx, struct packet *p, void *d, void *end, __u32 at, __u32 stop, __u32 message_end)
{
	__u32 start = p->l4 + sizeof(struct udphdr);
	__u8 b[2] = {};
	if (stop < at + 2 || read_bytes(ctx, d, end, start, at, b, 2))
		return REASON_OK;
	__u32 suites = b[0] << 8 | b[1], methods_at = at + 2 + suites;
	if (suites == 0 || suites & 1 || methods_at + 2 > message_end)
		return REASON_BAD_BODY;
	// The variable part of a packet offset must stay below 2^16. message_end bounds methods_at, which the compiler knows and
	// verifiers up to Linux 6.18 do not: without opaque() it would drop the mask.
	opaque(methods_at);
	methods_at &= 0x7fff;
	if (stop <= methods_at || read_bytes(ctx, d, end, start, methods_at, b, 1))
		return REASON_OK;
	if (b[0] == 0 || methods_at + 1 + b[0] > message_end)
		return REASON_BAD_BODY;
	return REASON_OK;
}

// parse_body reads the ClientHello in d, whose first fragment ends at stop.
static __always_inline int parse_body(struct xdp_md *ctx, struct packet *p, void *d, void *end, __u32 stop, __u32 message_end)
{
	if (stop <= SESSION_ID_AT)
		return REASON_BAD_SESSION_ID;
	if (d + SESSION_ID_AT + 1 > end)
		return HELLO_NONLINEAR;
	__u32 version = be16(d + BODY_AT);
	if (!dtls_version(version))
		return REASON_BAD_VERSION;
	__u32 sid = *(__u8 *)(d + SESSION_ID_AT), cookie_at = SESSION_ID_AT + 1 + sid;
	if (sid > MAX_SESSION_ID || stop <= cookie_at)
		return REASON_BAD_SESSION_ID;
	void *c = d + cookie_at;
	if (c + 1 > end)
		return HELLO_NONLINEAR;
	__u32 len = *(__u8 *)c, suites_at = cookie_at + 1 + len;
	if (stop < suites_at)
		return REASON_BAD_COOKIE;
	if (message_end < suites_at + LEAST_REST)
		return REASON_BAD_BODY;
	p->cookie_at = cookie_at + 1;
	p->cookie_len = len;
	p->version = version;
	p->stop = stop;
	p->whole = stop == message_end;
	return parse_lists(ctx, p, d, end, suites_at, stop, message_end);
}

// classify_first_byte returns REASON_OK if the first byte can start a DTLS record.
static __always_inline __u32 classify_first_byte(struct xdp_md *ctx, struct packet *p)
{
	void *d = (void *)(long)ctx->data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	if (p->len == 0)
		return REASON_NOT_DTLS;
	if (d + 1 > (void *)(long)ctx->data_end)
		return HELLO_NONLINEAR;
	__u8 first = p->first = *(__u8 *)d;
	return first < DTLS_FIRST || first > DTLS_LAST ? REASON_NOT_DTLS : REASON_OK;
}

// parse_datagram returns the reason of a datagram that passed classify_first_byte, and fills p from a ClientHello.
static __always_inline int parse_datagram(struct xdp_md *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *d = data + (p->l4 & MAX_OFFSET) + sizeof(struct udphdr);
	__u32 len = p->len;
	if (d + 1 > end)
		return HELLO_NONLINEAR;
	__u8 first = p->first;
	if (first != TYPE_HANDSHAKE || len < BODY_AT)
		return classify_short(p, d, end, len);
	if (d + BODY_AT > end)
		return HELLO_NONLINEAR;
	p->version = be16(d + 1);
	if (!dtls_version(p->version))
		return REASON_BAD_VERSION;
	if (be16(d + 3) != 0)
		return REASON_ENCRYPTED;
	if (*(__u8 *)(d + RECORD_HEADER) != MSG_CLIENT_HELLO)
		return REASON_NOT_HELLO;
	__u32 record = be16(d + 11), message = be24(d + 14), offset = be24(d + 19), fragment = be24(d + 22);
	if (record > len - RECORD_HEADER)
		return REASON_TRUNCATED;
	if (message >= MAX_MESSAGE)
		return REASON_BAD_LENGTH;
	if (fragment == 0)
		return REASON_ZERO_FRAGMENT;
	if (offset + fragment > message || HANDSHAKE_HEADER + fragment > record)
		return REASON_BAD_LENGTH;
	if (offset != 0)
		return REASON_LATER_FRAGMENT;
	return parse_body(ctx, p, d, end, BODY_AT + fragment, BODY_AT + message);
}
