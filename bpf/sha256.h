// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// SHA-256 (FIPS 180-4) for a machine that has ten registers and no rotate. A word x is kept twice in 64 bits,
// x | x << 32, so that each rotate is one shift whose low half is right. The upper halves of sums and of
// rotated words are junk; a word is cut to 32 bits and doubled again once, when it is made.
//
// The rounds are written in assembly because their eight words, the next majority's b ^ c and one temporary
// fill all registers: left to itself the compiler keeps some of them in memory, hoists what it likes and
// spills the rest. Two things stay in C for the compiler to choose the 32-bit form of an addition, which cuts
// the sum on the way. What it costs, against other ways to write it, is in the benchmark of this package.

// twice doubles a word by a multiplication: one instruction less than shift and or, one cycle more.
static __always_inline __u64 twice(__u64 x)
{
	__u64 t;
	asm volatile("%[t] = 0x100000001 ll; %[x] *= %[t]" : [x] "+r"(x), [t] "=&r"(t));
	return x;
}

// cut_shift is x >> n of the single word.
static __always_inline __u64 cut_shift(__u64 x, const int n)
{
	__u32 t = x;
	asm volatile("%0 >>= %1" : "+w"(t) : "i"(n));
	return t;
}

// step is one round (section 6.2.2, step 3) without the renaming of the words: d and h become e and a. bc is
// b ^ c of this round, then of the next: with it Maj(a, b, c) is ((a ^ b) & (b ^ c)) ^ b. Three rotations
// share their shifts: Sigma1(x) is ((x >> 14 ^ x) >> 5 ^ x) >> 6. The new e is what the next round waits for,
// so it is doubled by the shorter way.
static __always_inline void step(__u64 a, __u64 b, __u64 *d, __u64 e, __u64 f, __u64 g, __u64 *h, __u64 *bc, __s32 k, __u64 w)
{
	__u64 nd, nh = *h, maj = *bc, t = w;
	asm volatile("%[h] += %[t]; %[h] += %[k];"
		     "%[t] = %[f]; %[t] ^= %[g]; %[t] &= %[e]; %[t] ^= %[g]; %[h] += %[t];"
		     "%[t] = %[e]; %[t] >>= 14; %[t] ^= %[e]; %[t] >>= 5; %[t] ^= %[e]; %[t] >>= 6; %[h] += %[t]"
		     : [t] "+r"(t), [h] "+r"(nh)
		     : [e] "r"(e), [f] "r"(f), [g] "r"(g), [k] "i"(k));
	nd = (__u32)(*d + nh);
	asm volatile("%[t] = %[d]; %[t] <<= 32; %[d] |= %[t];"
		     "%[t] = %[a]; %[t] ^= %[b]; %[m] &= %[t]; %[m] ^= %[b]; %[h] += %[m];"
		     "%[m] = %[a]; %[m] >>= 9; %[m] ^= %[a]; %[m] >>= 11; %[m] ^= %[a]; %[m] >>= 2"
		     : [t] "=&r"(t), [h] "+r"(nh), [m] "+r"(maj), [d] "+r"(nd)
		     : [a] "r"(a), [b] "r"(b));
	*h = twice((__u32)(nh + maj));
	*d = nd;
	*bc = t;
}

// message doubles the i-th word of the block.
static __always_inline __u64 message(const struct sha256 *s, __u64 *w, const int i)
{
	__u64 x = twice(s->w[i]);
	asm volatile("*(u64 *)%[to] = %[x]" : [to] "=m"(w[i]) : [x] "r"(x));
	return x;
}

// schedule makes the i-th word of the schedule (section 6.2.2, step 1) in the place of the one 16 before. The
// sum waits in memory where its second half needs both free registers.
static __always_inline __u64 schedule(__u64 *w, const int i)
{
	__u64 *to = &w[i & 15], x, t;
	asm volatile("%[t] = *(u64 *)%[w1]; %[x] = %[t]; %[x] >>= 11; %[x] ^= %[t]; %[x] >>= 7"
		     : [x] "=&r"(x), [t] "=&r"(t)
		     : [w1] "m"(w[(i + 1) & 15]));
	t = cut_shift(t, 3);
	asm volatile("%[x] ^= %[t]; %[t] = *(u64 *)%[to]; %[x] += %[t]; %[t] = *(u64 *)%[w9]; %[x] += %[t]; *(u64 *)%[to] = %[x];"
		     "%[t] = *(u64 *)%[w14]; %[x] = %[t]; %[x] >>= 2; %[x] ^= %[t]; %[x] >>= 17"
		     : [x] "+r"(x), [t] "+r"(t), [to] "+m"(*to)
		     : [w9] "m"(w[(i + 9) & 15]), [w14] "m"(w[(i + 14) & 15]));
	t = cut_shift(t, 10);
	asm volatile("%[x] ^= %[t]; %[t] = *(u64 *)%[to]" : [x] "+r"(x), [t] "+r"(t) : [to] "m"(*to));
	x = twice((__u32)(x + t));
	asm volatile("*(u64 *)%[to] = %[x]" : [to] "=m"(*to) : [x] "r"(x));
	return x;
}

#define STEP(a, b, c, d, e, f, g, h, k, w) step(a, b, &d, e, f, g, &h, &bc, (__s32)(k), w)
#define MESSAGE(i) message(s, w, i)
#define SCHEDULE(i) schedule(w, i)

#define EIGHT(i, W, k0, k1, k2, k3, k4, k5, k6, k7)              \
	STEP(a, b, c, d, e, f, g, h, k0, W((i) + 0));            \
	STEP(h, a, b, c, d, e, f, g, k1, W((i) + 1));            \
	STEP(g, h, a, b, c, d, e, f, k2, W((i) + 2));            \
	STEP(f, g, h, a, b, c, d, e, k3, W((i) + 3));            \
	STEP(e, f, g, h, a, b, c, d, k4, W((i) + 4));            \
	STEP(d, e, f, g, h, a, b, c, k5, W((i) + 5));            \
	STEP(c, d, e, f, g, h, a, b, k6, W((i) + 6));            \
	STEP(b, c, d, e, f, g, h, a, k7, W((i) + 7))

// sha256_compress is one compression of s->w into s->h. A global function: the verifier checks it once and not at
// each call, and for that it must return something.
__noinline int sha256_compress(struct sha256 *s)
{
	if (!s)
		return -1;
	__u64 w[16];
	__u64 a = twice(s->h[0]), b = twice(s->h[1]), c = twice(s->h[2]), d = twice(s->h[3]);
	__u64 e = twice(s->h[4]), f = twice(s->h[5]), g = twice(s->h[6]), h = twice(s->h[7]), bc = b ^ c;

	EIGHT(0, MESSAGE, 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5);
	EIGHT(8, MESSAGE, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174);
	EIGHT(16, SCHEDULE, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da);
	EIGHT(24, SCHEDULE, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967);
	EIGHT(32, SCHEDULE, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85);
	EIGHT(40, SCHEDULE, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070);
	EIGHT(48, SCHEDULE, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3);
	EIGHT(56, SCHEDULE, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2);

	s->h[0] += a, s->h[1] += b, s->h[2] += c, s->h[3] += d;
	s->h[4] += e, s->h[5] += f, s->h[6] += g, s->h[7] += h;
	return 0;
}

// hmac_sha256 leaves the tag of the one-block message in s->w, padded already, in s->h.
static __always_inline void hmac_sha256(struct sha256 *s, const struct key *k)
{
	__builtin_memcpy(s->h, k->inner, sizeof(s->h));
	sha256_compress(s);
	__builtin_memcpy(s->w, s->h, sizeof(s->h));
	s->w[8] = 0x80000000; // RFC 6234 section 4.1: a one bit, zeroes, the length with the key pad's 64 bytes
	s->w[9] = s->w[10] = s->w[11] = s->w[12] = s->w[13] = s->w[14] = 0;
	s->w[15] = (64 + 32) * 8;
	__builtin_memcpy(s->h, k->outer, sizeof(s->h));
	sha256_compress(s);
}
