// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

// What the programs need of the kernel's user interface (include/uapi/linux/bpf.h and friends) and nothing
// else, so that the objects come out the same whatever kernel headers are installed.

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed int __s32;
typedef signed long long __s64;

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_CPUMAP = 16,
	BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum { BPF_ANY = 0, BPF_F_NO_PREALLOC = 1 << 0, BPF_F_MMAPABLE = 1 << 10, BPF_F_MARK_MANGLED_0 = 1 << 5, BPF_F_INGRESS = 1 << 0 };

enum xdp_action { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

enum tcx_action { TCX_NEXT = -1, TCX_PASS = 0, TCX_DROP = 2 };

enum sk_action { SK_DROP, SK_PASS };

// Contexts, cut after the last field used: the verifier rewrites accesses by their offset.
struct xdp_md {
	__u32 data;
	__u32 data_end;
	__u32 data_meta;
	__u32 ingress_ifindex;
};

struct __sk_buff {
	__u32 len;
	__u32 before_ifindex[9];
	__u32 ifindex;
	__u32 before_data[8];
	__u32 data;
	__u32 data_end;
	__u32 before_gso_size[23];
	__u32 gso_size;
};

// A socket, whose fields are not used.
struct bpf_sock;

// Addresses and ports in network order.
struct bpf_sock_tuple {
	union {
		struct {
			__u32 saddr, daddr;
			__u16 sport, dport;
		} ipv4;
		struct {
			__u32 saddr[4], daddr[4];
			__u16 sport, dport;
		} ipv6;
	};
};

#define BPF_F_CURRENT_NETNS (-1L)

struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4; // network order
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port; // a number
};

enum {
	BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB = 5,
	BPF_SOCK_OPS_STATE_CB = 10, // args: the old state and the new one
	BPF_SOCK_OPS_RTT_CB = 12,
	BPF_SOCK_OPS_STATE_CB_FLAG = 1 << 2,
	BPF_SOCK_OPS_RTT_CB_FLAG = 1 << 3,
	BPF_TCP_ESTABLISHED = 1,
	AF_INET6 = 10,
};

struct sk_reuseport_md {
	void *data;
	void *data_end;
	__u32 len;
	__u32 eth_protocol;
	__u32 ip_protocol;
	__u32 bind_inany;
	__u32 hash; // of addresses and ports
};

struct ethhdr {
	__u16 dst[3];
	__u16 src[3];
	__u16 type;
};

struct vlanhdr {
	__u16 tci;
	__u16 type;
};

struct iphdr {
	__u8 version_ihl;
	__u8 tos;
	__u16 tot_len;
	__u16 id;
	__u16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 saddr;
	__u32 daddr;
};

struct ipv6hdr {
	__u32 version_flow;
	__u16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	__u32 saddr[4];
	__u32 daddr[4];
};

// An IPv6 extension header; offset and id only in a fragment header (RFC 8200 section 4.5).
struct ipv6exthdr {
	__u8 nexthdr;
	__u8 len; // in units of 8 bytes, the first not counted
	__u16 offset;
	__u32 id;
};

struct udphdr {
	__u16 source;
	__u16 dest;
	__u16 len;
	__u16 check;
};
