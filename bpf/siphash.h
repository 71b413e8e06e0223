// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF", and its reference code)
// over the 55 bytes of a binding, which with the length byte of the padding are seven 64-bit words.

// Constants of the reference code for 128 bits of output.
enum { SIPHASH_128 = 0xee, SIPHASH_SECOND = 0xdd };

static __always_inline __u64 rotate(__u64 x, const int n) { return x << n | x >> (64 - n); }

#define SIPHASH_ROUND(v0, v1, v2, v3)   \
	do {                            \
		v0 += v1;               \
		v2 += v3;               \
		v1 = rotate(v1, 13);    \
		v3 = rotate(v3, 16);    \
		v1 ^= v0;               \
		v3 ^= v2;               \
		v0 = rotate(v0, 32);    \
		v2 += v1;               \
		v0 += v3;               \
		v1 = rotate(v1, 17);    \
		v3 = rotate(v3, 21);    \
		v1 ^= v2;               \
		v3 ^= v0;               \
		v2 = rotate(v2, 32);    \
	} while (0)

// siphash computes the tag of the message in s->m under k into s->tag. A global function, so that the verifier checks it
// once; such a function must return a value.
__noinline int siphash(struct siphash *s, const struct key *k)
{
	if (!s || !k)
		return -1;
	__u64 v0 = k->sip[0] ^ 0x736f6d6570736575, v1 = k->sip[1] ^ 0x646f72616e646f6d ^ SIPHASH_128;
	__u64 v2 = k->sip[0] ^ 0x6c7967656e657261, v3 = k->sip[1] ^ 0x7465646279746573;
#pragma unroll
	for (int i = 0; i < SIPHASH_WORDS; i++) {
		v3 ^= s->m[i];
		SIPHASH_ROUND(v0, v1, v2, v3);
		SIPHASH_ROUND(v0, v1, v2, v3);
		v0 ^= s->m[i];
	}
	v2 ^= SIPHASH_128;
#pragma unroll
	for (int i = 0; i < 4; i++)
		SIPHASH_ROUND(v0, v1, v2, v3);
	s->tag[0] = v0 ^ v1 ^ v2 ^ v3;
	v1 ^= SIPHASH_SECOND;
#pragma unroll
	for (int i = 0; i < 4; i++)
		SIPHASH_ROUND(v0, v1, v2, v3);
	s->tag[1] = v0 ^ v1 ^ v2 ^ v3;
	return 0;
}

// siphash64 is SipHash-2-4 of three words, with the usual 64 bits of output.
static __always_inline __u64 siphash64(__u64 k0, __u64 k1, __u64 a, __u64 b, __u64 c)
{
	__u64 v0 = k0 ^ 0x736f6d6570736575, v1 = k1 ^ 0x646f72616e646f6d;
	__u64 v2 = k0 ^ 0x6c7967656e657261, v3 = k1 ^ 0x7465646279746573;
	__u64 m[] = {a, b, c, 24ULL << 56}; // the last is the length in bytes
#pragma unroll
	for (int i = 0; i < 4; i++) {
		v3 ^= m[i];
		SIPHASH_ROUND(v0, v1, v2, v3);
		SIPHASH_ROUND(v0, v1, v2, v3);
		v0 ^= m[i];
	}
	v2 ^= 0xff;
#pragma unroll
	for (int i = 0; i < 4; i++)
		SIPHASH_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}
