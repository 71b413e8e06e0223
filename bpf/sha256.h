// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// SHA-256 (FIPS 180-4) for a machine that has ten registers and no rotate. A word x is kept twice in 64 bits,
// x | x << 32, so that each rotate is one shift whose low half is right. The upper halves of sums and of
// rotated words are junk; a word is cut to 32 bits and doubled again once, when it is made.
//
// What limits it is, in equal parts, the number of additions, shifts and bit operations (27 a round, 16 a word
// of the schedule; moves between registers are free) and the way from one e to the next. So a rotation's three
// shifts stand side by side where that way is (Sigma1) and share where it is not. The eighth word of the state
// waits in memory until the one round that needs it: the register that this gives is the second temporary that
// shifts side by side take. Doubling by a multiplication is an instruction less, and slower.
//
// The rounds are written in assembly because their seven words, the next majority's b ^ c and two temporaries
// fill all registers: left to itself the compiler keeps some of them in memory, hoists what it likes and
// spills the rest. What it costs is in the benchmark of this package.

// twice doubles a word.
static __always_inline __u64 twice(__u64 x)
{
	__u64 t;
	asm volatile("%[t] = %[x]; %[t] <<= 32; %[x] |= %[t]" : [x] "+r"(x), [t] "=&r"(t));
	return x;
}

// add is the single word x + y.
static __always_inline __u64 add(__u64 x, __u64 y)
{
	__u32 sum = x, other = y;
	asm volatile("%0 += %1" : "+w"(sum) : "w"(other));
	return sum;
}

// cut_shift is x >> n of the single word.
static __always_inline __u64 cut_shift(__u64 x, const int n)
{
	__u32 t = x;
	asm volatile("%0 >>= %1" : "+w"(t) : "i"(n));
	return t;
}

// step is one round (section 6.2.2, step 3) without the renaming of the words: d and g become e and a. h is in
// memory, where the new e takes its place: it will be the h of the fourth round from here. bc is b ^ c of this
// round, then of the next: with it Maj(a, b, c) is ((a ^ b) & (b ^ c)) ^ b. Sigma0(x) is
// (x >> 11 ^ x) >> 2 ^ x >> 22.
static __always_inline void step(__u64 a, __u64 b, __u64 *d, __u64 e, __u64 f, __u64 *g, __u64 *h, __u64 *bc, __s32 k, const __u64 *w)
{
	__u64 sum, ab, t, u;
	asm volatile("%[t] = %[f]; %[t] ^= %[g]; %[t] &= %[e]; %[t] ^= %[g]" : [t] "=&r"(t) : [e] "r"(e), [f] "r"(f), [g] "r"(*g));
	asm volatile("%[sum] = *(u64 *)%[h]; %[u] = *(u64 *)%[w]; %[sum] += %[u]; %[sum] += %[k]; %[sum] += %[t]"
		     : [sum] "=&r"(sum), [u] "=&r"(u) // in the register of g, which is done with
		     : [t] "r"(t), [h] "m"(*h), [w] "m"(*w), [k] "i"(k));
	asm volatile("%[t] = %[e]; %[t] >>= 6; %[u] = %[e]; %[u] >>= 11; %[t] ^= %[u]; %[u] = %[e]; %[u] >>= 25; %[t] ^= %[u];"
		     "%[sum] += %[t]"
		     : [sum] "+r"(sum), [t] "=&r"(t), [u] "=&r"(u)
		     : [e] "r"(e));
	*d = twice(add(*d, sum));
	asm volatile("*(u64 *)%[h] = %[d]; %[ab] = %[a]; %[ab] ^= %[b]; %[bc] &= %[ab]; %[bc] ^= %[b]; %[sum] += %[bc]"
		     : [sum] "+r"(sum), [ab] "=&r"(ab), [bc] "+r"(*bc), [h] "=m"(*h)
		     : [a] "r"(a), [b] "r"(b), [d] "r"(*d));
	asm volatile("%[t] = %[a]; %[t] >>= 11; %[u] = %[a]; %[t] ^= %[a]; %[u] >>= 22; %[t] >>= 2; %[t] ^= %[u]"
		     : [t] "=&r"(t), [u] "=&r"(u)
		     : [a] "r"(a));
	*g = twice(add(sum, t));
	*bc = ab;
}

// schedule makes the i-th word of the schedule (section 6.2.2, step 1) in the place of the one 16 before. The
// sum waits in memory where its second half needs both free registers.
static __always_inline void schedule(__u64 *w, const int i)
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
	x = twice(add(x, t));
	asm volatile("*(u64 *)%[to] = %[x]" : [to] "=m"(*to) : [x] "r"(x));
}

#define STEP(i, a, b, c, d, e, f, g, k)                                                     \
	do {                                                                                \
		if ((i) >= 16)                                                              \
			schedule(w, i);                                                     \
		step(a, b, &d, e, f, &g, &h[(i) & 3], &bc, (__s32)(k), &w[(i) & 15]);       \
	} while (0)

// SEVEN rounds, after which each word is in its own register again.
#define SEVEN(i, k0, k1, k2, k3, k4, k5, k6)                     \
	STEP((i) + 0, a, b, c, d, e, f, g, k0);                  \
	STEP((i) + 1, g, a, b, c, d, e, f, k1);                  \
	STEP((i) + 2, f, g, a, b, c, d, e, k2);                  \
	STEP((i) + 3, e, f, g, a, b, c, d, k3);                  \
	STEP((i) + 4, d, e, f, g, a, b, c, k4);                  \
	STEP((i) + 5, c, d, e, f, g, a, b, k5);                  \
	STEP((i) + 6, b, c, d, e, f, g, a, k6)

// sha256_compress is one compression of s->w into s->h. A global function: the verifier checks it once and not at
// each call, and for that it must return something.
__noinline int sha256_compress(struct sha256 *s)
{
	if (!s)
		return -1;
	__u64 w[16], h[4] = {s->h[7], s->h[6], s->h[5], s->h[4]}; // h of the first four rounds
#pragma unroll
	for (int i = 0; i < 16; i++)
		w[i] = twice(s->w[i]);
	__u64 a = twice(s->h[0]), b = s->h[1], c = s->h[2], d = s->h[3];
	__u64 e = twice(s->h[4]), f = s->h[5], g = s->h[6], bc = b ^ c;

	SEVEN(0, 0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4);
	SEVEN(7, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe);
	SEVEN(14, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f);
	SEVEN(21, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7);
	SEVEN(28, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc);
	SEVEN(35, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b);
	SEVEN(42, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116);
	SEVEN(49, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3);
	SEVEN(56, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7);
	STEP(63, a, b, c, d, e, f, g, 0xc67178f2);

	s->h[0] += g, s->h[1] += a, s->h[2] += b, s->h[3] += c; // the last round's renaming
	s->h[4] += d, s->h[5] += e, s->h[6] += f, s->h[7] += h[0];
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
