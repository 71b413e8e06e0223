// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "kernel.h"

#define SEC(name) __attribute__((section(name), used))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// The BTF spelling of map definitions.
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define htons(x) ((__u16)__builtin_bswap16(x))
#define htonl(x) ((__u32)__builtin_bswap32(x))
#else
#define htons(x) ((__u16)(x))
#define htonl(x) ((__u32)(x))
#endif
#define ntohs htons
#define ntohl htonl

// Helpers by their number in enum bpf_func_id, with the kernel that first has them where that is above 5.4.
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)5;
static __u32 (*const bpf_get_smp_processor_id)(void) = (void *)8;
static long (*const bpf_skb_store_bytes)(struct __sk_buff *, __u32 off, const void *from, __u32 len, __u64 flags) = (void *)9;
static long (*const bpf_l4_csum_replace)(struct __sk_buff *, __u32 off, __u64 from, __u64 to, __u64 flags) = (void *)11;
static long (*const bpf_redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*const bpf_skb_load_bytes)(const void *ctx, __u32 off, void *to, __u32 len) = (void *)26;
static long (*const bpf_skb_pull_data)(struct __sk_buff *, __u32 len) = (void *)39;
static long (*const bpf_redirect_map)(void *map, __u64 key, __u64 flags) = (void *)51;
static long (*const bpf_sock_ops_cb_flags_set)(struct bpf_sock_ops *, int flags) = (void *)59;
static long (*const bpf_xdp_adjust_tail)(struct xdp_md *, int delta) = (void *)65;
static long (*const bpf_sk_select_reuseport)(struct sk_reuseport_md *, void *map, void *key, __u64 flags) = (void *)82;
static struct bpf_sock *(*const bpf_sk_lookup_udp)(struct __sk_buff *, struct bpf_sock_tuple *, __u32 size, __u64 netns, __u64 flags) = (void *)85;
static long (*const bpf_sk_release)(struct bpf_sock *) = (void *)86;
static __u64 (*const bpf_jiffies64)(void) = (void *)118;                                             // 5.6
static long (*const bpf_sk_assign)(struct __sk_buff *, struct bpf_sock *, __u64 flags) = (void *)124; // 5.7; of a group of sockets 6.6
static __u64 (*const bpf_get_netns_cookie)(void *ctx) = (void *)122; // 5.7; of sockops 5.15
static long (*const bpf_ringbuf_output)(void *ring, void *data, __u64 size, __u64 flags) = (void *)130; // 5.8
static __u64 (*const bpf_ktime_get_coarse_ns)(void) = (void *)160;                                  // 5.11
static __u64 (*const bpf_xdp_get_buff_len)(struct xdp_md *) = (void *)188;                          // 5.18
static long (*const bpf_xdp_load_bytes)(struct xdp_md *, __u32 off, void *to, __u32 len) = (void *)189; // 5.18
