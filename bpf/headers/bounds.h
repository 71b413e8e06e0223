// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "helpers.h"

// Bounds in a form that the verifiers of all kernels since 6.1 understand. Newer verifiers apply the result of a comparison
// to all registers with the same value, and learn from "not 0". Older ones apply it only to the register that was compared.
// So a value is masked or compared, passed through opaque, and then used.

// opaque hides a value from the compiler, which then cannot drop a mask or comparison that it considers redundant, or
// compare one register and use another.
#define opaque(x) asm volatile("" : "+r"(x))

// bound_length reports whether length is from 1 to most, in a way that the verifier understands. Helpers reject a length of
// 0, and verifiers before Linux 6.8 do not conclude from length != 0 that it is at least 1. They do conclude it when 1 is
// added to the value that was compared.
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

// if_equal and if_less return all ones if a == b, or a < b, else 0; values must be below 2^63. They have no branch, because
// the verifier follows both sides of a branch in every iteration of a loop, and old ones merge equal states too late.
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
