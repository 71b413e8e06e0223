// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// fold reduces the sum of an Internet checksum (RFC 1071) to 16 bits. The sum adds words in memory order, which gives the
// same result for both byte orders.
static __always_inline __u32 fold(__u64 sum)
{
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 32) + (sum & 0xffffffff);
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return (sum >> 16) + (sum & 0xffff);
}
