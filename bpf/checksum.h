// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// fold reduces the sum of an Internet checksum (RFC 1071), of fewer than 2^16 words, to 16 bits. The sum adds words in memory
// order, which gives the same result for both byte orders.
static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}
