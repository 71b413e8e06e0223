// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "headers/helpers.h"

// SipHash-2-4 (Aumasson and Bernstein, 2012): a hash whose collisions nobody finds who does not have the key, so that no
// sender can aim at a bucket that another one uses.

static __always_inline __u64 rotate_left(__u64 x, int by) { return x << by | x >> (64 - by); }

#define SIPROUND                                                \
	do {                                                    \
		v0 += v1;                                       \
		v1 = rotate_left(v1, 13) ^ v0;                  \
		v0 = rotate_left(v0, 32);                       \
		v2 += v3;                                       \
		v3 = rotate_left(v3, 16) ^ v2;                  \
		v0 += v3;                                       \
		v3 = rotate_left(v3, 21) ^ v0;                  \
		v2 += v1;                                       \
		v1 = rotate_left(v1, 17) ^ v2;                  \
		v2 = rotate_left(v2, 32);                       \
	} while (0)

// siphash is the hash of three words, taken as 24 bytes with the low byte of each first.
static __always_inline __u64 siphash(__u64 k0, __u64 k1, __u64 a, __u64 b, __u64 c)
{
	__u64 v0 = k0 ^ 0x736f6d6570736575ULL, v1 = k1 ^ 0x646f72616e646f6dULL;
	__u64 v2 = k0 ^ 0x6c7967656e657261ULL, v3 = k1 ^ 0x7465646279746573ULL;
	__u64 m[4] = {a, b, c, 24ULL << 56};
#pragma unroll
	for (int i = 0; i < 4; i++) {
		v3 ^= m[i];
		SIPROUND;
		SIPROUND;
		v0 ^= m[i];
	}
	v2 ^= 0xff;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	SIPROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}
