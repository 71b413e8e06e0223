// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "helpers.h"

// Bounds in a form that the verifier of each kernel since 6.1 follows. Newer ones carry what a comparison tells over to
// other registers of the same value, and learn from "not 0"; older ones know only what was done to the very register that
// is used. So a value is masked or compared, kept by opaque, and used.

// opaque keeps the compiler from knowing a value: it then neither leaves out a mask or comparison that to it is of no
// use, nor compares one register and uses another.
#define opaque(x) asm volatile("" : "+r"(x))

// bound_length makes length, which it reports to be from 1 to most, one that the verifier knows to be so. Helpers take no
// length of 0, and verifiers before Linux 6.8 do not learn from length != 0 that it is at least 1: they do where 1 is added
// to what was compared.
static __always_inline int bound_length(__u32 *length, const __u32 most)
{
	__u64 n = (__u32)(*length - 1);
	opaque(n);
	if (n >= most)
		return 0;
	opaque(n);
	*length = n + 1;
	return 1;
}

// if_equal and if_less are all ones if a == b, and if a < b, else 0, for values below 2^63. They have no branch: in a loop the
// verifier follows both ways of one in every iteration, and old ones find too late that they lead to the same.
static __always_inline __u64 if_equal(__u64 a, __u64 b)
{
	__u64 d = a ^ b;
	opaque(d);
	return (__s64)(d - 1) >> 63;
}

static __always_inline __u64 if_less(__u64 a, __u64 b)
{
	__u64 d = a - b;
	opaque(d);
	return (__s64)d >> 63;
}
