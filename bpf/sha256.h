// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// SHA-256 (FIPS 180-4) for a machine with ten registers and no rotate. A word x is stored twice in 64 bits, x | x << 32, so
// that a rotate is one shift whose low half is right. The upper halves of sums and of rotated words are junk; a new word is
// truncated to 32 bits and doubled once.
//
// Two things limit it: the number of instructions (65 per round with its word of the schedule), and the dependency from one
// e to the next. So Sigma1, on that critical path, shifts in parallel, and Sigma0, which is not, shares shifts. The eighth
// word of the state stays in memory until the one round that needs it: this frees the second temporary that parallel shifts
// need. Doubling by a multiplication takes one instruction less, and is slower.
//
// Rounds 16 to 63 are a loop of sixteen, although each constant then takes two loads. All rounds inline are 13 kB of machine
// code: together with the rest of the program they exceed the CPU's cache of decoded instructions, which costs 25 % (Zen 4).
//
// The rounds are assembly because seven words, the next majority's b ^ c and two temporaries fill all registers: the
// compiler would hoist loads and spill. The package's benchmark measures the cost.

static const __u32 round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// struct words is the state of a round without the eighth word. bc is b ^ c: Maj(a, b, c) is ((a ^ b) & (b ^ c)) ^ b, and
// a ^ b is the bc of the next round.
struct words {
	__u64 a, b, c, d, e, f, g, bc;
};

// twice doubles a word.
static __always_inline __u64 twice(__u64 x)
{
	__u64 t;
	asm volatile("%[t] = %[x]; %[t] <<= 32; %[x] |= %[t]" : [x] "+r"(x), [t] "=&r"(t));
	return x;
}

// add returns x + y as a word that is not doubled.
static __always_inline __u64 add(__u64 x, __u64 y)
{
	__u32 sum = x, other = y;
	asm volatile("%0 += %1" : "+w"(sum) : "w"(other));
	return sum;
}

// cut_shift returns x >> n of the low word.
static __always_inline __u64 cut_shift(__u64 x, const int n)
{
	__u32 t = x;
	asm volatile("%0 >>= %1" : "+w"(t) : "i"(n));
	return t;
}

// add_constant adds constant j of *k, or of the first sixteen if k is 0.
static __always_inline __u64 add_constant(__u64 x, const __u32 *const *k, const int j)
{
	__u64 t;
	if (k)
		asm volatile("%[t] = *(u64 *)%[k]; %[t] = *(u32 *)(%[t] + %[j]); %[x] += %[t]" : [x] "+r"(x), [t] "=&r"(t) : [k] "m"(*k), [j] "i"(4 * j));
	else
		asm volatile("%0 += %1" : "+r"(x) : "i"((__s32)round_constants[j]));
	return x;
}

// step is one round (section 6.2.2, step 3) with word x of the schedule and its constant. The new e replaces *h in memory: it
// is the h of the fourth round from here. Sigma0(x) is (x >> 11 ^ x) >> 2 ^ x >> 22.
static __always_inline void step(struct words *v, __u64 *h, __u64 x, const __u32 *const *k, const int j)
{
	__u64 a, e, ab, sum = x, t, u;
	asm volatile("%[t] = %[f]; %[t] ^= %[g]; %[t] &= %[e]; %[t] ^= %[g]" : [t] "=&r"(t) : [e] "r"(v->e), [f] "r"(v->f), [g] "r"(v->g));
	asm volatile("%[u] = *(u64 *)%[h]; %[sum] += %[u]"
		     : [sum] "+r"(sum), [u] "=&r"(u) // in the register of g, which is not needed any more
		     : [h] "m"(*h));
	sum = add_constant(sum, k, j);
	asm volatile("%[sum] += %[t]" : [sum] "+r"(sum) : [t] "r"(t));
	asm volatile("%[t] = %[e]; %[t] >>= 6; %[u] = %[e]; %[u] >>= 11; %[t] ^= %[u]; %[u] = %[e]; %[u] >>= 25; %[t] ^= %[u];"
		     "%[sum] += %[t]"
		     : [sum] "+r"(sum), [t] "=&r"(t), [u] "=&r"(u)
		     : [e] "r"(v->e));
	e = twice(add(v->d, sum));
	asm volatile("*(u64 *)%[h] = %[d]; %[ab] = %[a]; %[ab] ^= %[b]; %[bc] &= %[ab]; %[bc] ^= %[b]; %[sum] += %[bc]"
		     : [sum] "+r"(sum), [ab] "=&r"(ab), [bc] "+r"(v->bc), [h] "=m"(*h)
		     : [a] "r"(v->a), [b] "r"(v->b), [d] "r"(e));
	asm volatile("%[t] = %[a]; %[t] >>= 11; %[u] = %[a]; %[t] ^= %[a]; %[u] >>= 22; %[t] >>= 2; %[t] ^= %[u]"
		     : [t] "=&r"(t), [u] "=&r"(u)
		     : [a] "r"(v->a));
	a = twice(add(sum, t));
	*v = (struct words){a, v->a, v->b, v->c, e, v->e, v->f, ab};
}

// schedule computes a word of the schedule (section 6.2.2, step 1), stores it over the one 16 before, w[i], and returns it.
// The sum goes to memory where the second half needs both free registers.
static __always_inline __u64 schedule(__u64 *w, const int i)
{
	__u64 *to = &w[i], x, t;
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
	return x;
}

// compress compresses s->w into s->h.
static __always_inline void compress(struct sha256 *s)
{
	__u64 w[16], h[4] = {s->h[7], s->h[6], s->h[5], s->h[4]}; // h of the first four rounds
	struct words v = {.b = s->h[1], .c = s->h[2], .d = s->h[3], .f = s->h[5], .g = s->h[6]};
	const __u32 *k = round_constants;
#pragma unroll
	for (int i = 0; i < 16; i++)
		w[i] = twice(s->w[i]);
	v.a = twice(s->h[0]);
	v.e = twice(s->h[4]);
	v.bc = v.b ^ v.c;
	asm volatile("" : "+m"(k)); // in memory
#pragma unroll
	for (int j = 0; j < 16; j++)
		step(&v, &h[j & 3], w[j], 0, j);
#pragma nounroll
	for (int i = 1; i < 4; i++) {
		k += 16;
		asm volatile("" : "+m"(k));
#pragma unroll
		for (int j = 0; j < 16; j++)
			step(&v, &h[j & 3], schedule(w, j), &k, j);
	}
	s->h[0] += v.a, s->h[1] += v.b, s->h[2] += v.c, s->h[3] += v.d;
	s->h[4] += v.e, s->h[5] += v.f, s->h[6] += v.g, s->h[7] += h[0];
}

// outer_block makes s->h the message of the outer hash.
static __always_inline void outer_block(struct sha256 *s)
{
	__builtin_memcpy(s->w, s->h, sizeof(s->h));
	s->w[8] = 0x80000000; // RFC 6234 section 4.1: a one bit, zeroes, the length with the key pad's 64 bytes
	s->w[9] = s->w[10] = s->w[11] = s->w[12] = s->w[13] = s->w[14] = 0;
	s->w[15] = (64 + 32) * 8;
}

// hmac_sha256 computes the tag of the padded one-block message in s->w into s->h. A global function, so that the verifier
// checks it once; such a function must return a value. One loop does both hashes, to keep the machine code small.
__noinline int hmac_sha256(struct sha256 *s, const struct key *k)
{
	if (!s || !k)
		return -1;
#pragma nounroll
	for (int outer = 0; outer < 2; outer++) {
		if (outer)
			outer_block(s);
		__builtin_memcpy(s->h, outer ? k->outer : k->inner, sizeof(s->h));
		compress(s);
	}
	return 0;
}
