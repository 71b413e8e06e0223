// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "bounds.h"

// What these programs need in addition to bpf/headers.

static __u32 (*const bpf_get_prandom_u32)(void) = (void *)7;
static long (*const bpf_xdp_store_bytes)(struct xdp_md *, __u32 off, const void *from, __u32 len) = (void *)190; // 5.18

// fold turns a sum of 16-bit words, added in wider ones, into a checksum (RFC 1071 section 2).
static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}
