// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "addresses.h"

// A finished TCP handshake proves the peer's address: clients of VPN gateways connect by TCP before they use DTLS.

// TCP ports, as numbers, whose peers count as proved.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TRUSTED_PORTS);
	__type(key, __u32);
	__type(value, __u32);
} trusted_ports SEC(".maps");

volatile const __u64 trusted_netns = 0; // cookie of the network namespace whose connections count

// trust_tcp remembers the peers of accepted connections, and refreshes them while data is acknowledged. It is attached to the
// root control group, so it sees the connections of all network namespaces. With TCP Fast Open the kernel calls a connection
// established when its SYN comes, which may be forged (net.ipv4.tcp_fastopen, 0x200): its state says when the peer has answered.
SEC("sockops") int trust_tcp(struct bpf_sock_ops *ops)
{
	struct control *c = control();
	__u32 op = ops->op;
	if (!c || (op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB && op != BPF_SOCK_OPS_RTT_CB && op != BPF_SOCK_OPS_STATE_CB))
		return 1;
	__u32 port = ops->local_port;
	if (!bpf_map_lookup_elem(&trusted_ports, &port) || bpf_get_netns_cookie(ops) != trusted_netns)
		return 1;
	if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_RTT_CB_FLAG | BPF_SOCK_OPS_STATE_CB_FLAG);
		return 1;
	}
	if (op == BPF_SOCK_OPS_STATE_CB && ops->args[1] != BPF_TCP_ESTABLISHED)
		return 1;
	__u32 a[4] = {0, 0, htonl(0xffff), ops->remote_ip4};
	__u8 v6 = 0;
	if (ops->family == AF_INET6) {
		a[0] = ops->remote_ip6[0];
		a[1] = ops->remote_ip6[1];
		a[2] = ops->remote_ip6[2];
		a[3] = ops->remote_ip6[3];
		v6 = !v4_mapped(a);
	}
	add_address(c, a, v6, 0, 1, bpf_ktime_get_coarse_ns() / SECOND);
	return 1;
}
