// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "hello.h"
#include "maps.h"
#include "sha256.h"
#include "siphash.h"

// Cookies: what each format computes from a ClientHello, and how a presented cookie is compared with it.

// fill_message writes the message of cookie format v1 as one padded block (see package cookie).
static __always_inline void fill_message(struct sha256 *s, const struct packet *p, const void *random)
{
	__u32 s0 = ntohl(p->saddr[0]), s1 = ntohl(p->saddr[1]), s2 = ntohl(p->saddr[2]), s3 = ntohl(p->saddr[3]);
	s->w[0] = (p->retry ? BINDING_RETRY : BINDING_V1) << 24 | s0 >> 8;
	s->w[1] = s0 << 24 | s1 >> 8;
	s->w[2] = s1 << 24 | s2 >> 8;
	s->w[3] = s2 << 24 | s3 >> 8;
	s->w[4] = s3 << 24 | (__u32)p->sport << 8 | p->dport >> 8;
	s->w[5] = (__u32)p->dport << 24 | (__u32)p->version << 8 | *(__u8 *)random;
#pragma unroll
	for (int i = 0; i < 7; i++)
		s->w[6 + i] = be32(random + 1 + 4 * i);
	s->w[13] = be32(random + 28) << 8 | 0x80; // the last three bytes and the padding bit
	s->w[14] = 0;
	s->w[15] = (64 + BINDING_SIZE) * 8; // bits, including the key pad before the message
}

// fill_message_qt writes what Qt's QDtlsClientVerifier hashes: the port and an IPv4 address in little-endian order, an IPv6
// address as it is (testdata/qtcookies.txt).
static __always_inline void fill_message_qt(struct sha256 *s, const struct packet *p)
{
	__u32 port = __builtin_bswap16(p->sport) << 16;
	__builtin_memset(s->w, 0, sizeof(s->w));
	if (!p->v6) {
		__u32 address = __builtin_bswap32(ntohl(p->saddr[3]));
		s->w[0] = port | address >> 16;
		s->w[1] = address << 16 | 0x8000; // the padding bit after 6 bytes
		s->w[15] = (64 + 6) * 8;
		return;
	}
	__u32 s0 = ntohl(p->saddr[0]), s1 = ntohl(p->saddr[1]), s2 = ntohl(p->saddr[2]), s3 = ntohl(p->saddr[3]);
	s->w[0] = port | s0 >> 16;
	s->w[1] = s0 << 16 | s1 >> 16;
	s->w[2] = s1 << 16 | s2 >> 16;
	s->w[3] = s2 << 16 | s3 >> 16;
	s->w[4] = s3 << 16 | 0x8000;
	s->w[15] = (64 + 18) * 8;
}

static __always_inline __u64 le64(const void *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return *(const __u64 *)p;
#else
	return __builtin_bswap64(*(const __u64 *)p);
#endif
}

// fill_binding writes the message of SipHash: that of format v1 with another first byte.
static __always_inline void fill_binding(struct siphash *s, const struct packet *p, const void *random, __u64 first)
{
	__u64 s0 = le64(&p->saddr[0]), s1 = le64(&p->saddr[2]);
	s->m[0] = first | s0 << 8;
	s->m[1] = s0 >> 56 | s1 << 8;
	s->m[2] = s1 >> 56 | (__u64)__builtin_bswap16(p->sport) << 8 | (__u64)__builtin_bswap16(p->dport) << 24 |
		  (__u64)__builtin_bswap16(p->version) << 40 | (__u64)*(__u8 *)random << 56;
#pragma unroll
	for (int i = 0; i < 3; i++)
		s->m[3 + i] = le64(random + 1 + 8 * i);
	s->m[6] = le64(random + 24) >> 8 | (__u64)BINDING_SIZE << 56;
}

// put_v2 writes a cookie of format v2 from a SipHash tag: the key ID and 15 bytes of the tag.
static __always_inline void put_v2(struct sha256 *s, const struct siphash *sip, __u32 epoch)
{
	__u64 c0 = epoch | sip->tag[0] << 8, c1 = sip->tag[0] >> 56 | sip->tag[1] << 8;
	s->h[0] = __builtin_bswap32(c0);
	s->h[1] = __builtin_bswap32(c0 >> 32);
	s->h[2] = __builtin_bswap32(c1);
	s->h[3] = __builtin_bswap32(c1 >> 32);
	s->h[4] = s->h[5] = s->h[6] = s->h[7] = 0;
}

// put_epoch makes a tag a cookie of format v1: the key ID, then 31 bytes of the tag.
static __always_inline void put_epoch(struct sha256 *s, __u32 epoch)
{
#pragma unroll
	for (int i = COOKIE_SIZE / 4 - 1; i >= 0; i--)
		s->h[i] = (i ? s->h[i - 1] : epoch) << 24 | s->h[i] >> 8;
}

// make_cookie computes the cookie of the ClientHello in d under k into w->hash.h. For harvested cookies it computes the tag
// that selects one, into w->sip.tag.
static __always_inline void make_cookie(struct work *w, const struct packet *p, const void *d, const struct service *svc, const struct key *k)
{
	if (svc->format == FORMAT_HARVEST || svc->format == FORMAT_V2) {
		__u64 own = p->retry ? BINDING_RETRY_V2 : BINDING_V2;
		fill_binding(&w->sip, p, d + RANDOM_AT, svc->format == FORMAT_V2 ? own : BINDING_POOL);
		siphash(&w->sip, k);
		if (svc->format == FORMAT_V2)
			put_v2(&w->hash, &w->sip, k->epoch);
		return;
	}
	if (unlikely(svc->format == FORMAT_QT)) {
		fill_message_qt(&w->hash, p);
		hmac_sha256(&w->hash, k);
		return;
	}
	fill_message(&w->hash, p, d + RANDOM_AT);
	hmac_sha256(&w->hash, k);
	put_epoch(&w->hash, k->epoch);
}

// computed_size is the length of the cookies that a service computes.
static __always_inline __u32 computed_size(const struct service *svc)
{
	return svc->format == FORMAT_V2 ? COOKIE_SIZE_V2 : COOKIE_SIZE;
}

// load_presented copies the cookie of a ClientHello into w->presented. It returns -1 if no cookie of the service has that
// length, or if the bytes cannot be read.
static __always_inline int load_presented(struct xdp_md *ctx, const struct packet *p, const struct service *svc, struct work *w)
{
	__u32 at = p->l4 + sizeof(struct udphdr) + p->cookie_at, length = p->cookie_len;
	if (svc->format != FORMAT_HARVEST && length != computed_size(svc))
		return -1;
	__builtin_memset(w->presented, 0, sizeof(w->presented));
	if (!bound_length(&length, COOKIE_SIZE))
		return -1;
	return bpf_xdp_load_bytes(ctx, at, w->presented, length) ? -1 : 0;
}

// differs accumulates the difference of two words in d, in constant time.
static __always_inline __u32 differs(__u32 d, __u32 a, __u32 b)
{
	d |= a ^ b;
	asm volatile("" : "+w"(d)); // else the compiler turns it into a chain of branches
	return d;
}

// presented_is_computed compares the presented cookie with the computed one.
static __always_inline int presented_is_computed(const struct work *w)
{
	__u32 d = 0;
#pragma unroll
	for (int i = 0; i < COOKIE_SIZE / 4; i++)
		d = differs(d, w->presented[i], htonl(w->hash.h[i]));
	return d == 0;
}
