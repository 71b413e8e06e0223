// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// From Ethernet to UDP. Nothing here reads or writes a map.

enum parsed {
	PARSED_UDP,
	PARSED_OTHER,          // no UDP over IP: none of our business
	PARSED_LATER_FRAGMENT, // an IP fragment without ports; addresses and id are set
	PARSED_EXTENSIONS,     // more extension headers than MAX_EXTENSIONS; addresses are set
	PARSED_BAD,            // UDP whose lengths contradict each other, or of impossible addresses; ports are set
	PARSED_NONLINEAR,      // headers end behind the first buffer; addresses may be set
	PARSED_NOT_PLAIN,      // only if no more than a plain packet was looked for
};

// A plain packet is whole, in one buffer, with neither VLAN tags nor extension headers: nearly all are. To look for no
// more than that needs neither loops nor helpers, so it has a place in the program itself, where a call costs some 7 ns
// on CPUs whose returns are guarded.

static __always_inline int parse_udp(void *data, void *end, struct packet *p, __u32 l4, __u32 ip_payload)
{
	struct udphdr *udp = data + l4;
	if ((void *)(udp + 1) > end)
		return ip_payload < sizeof(*udp) ? PARSED_OTHER : PARSED_NONLINEAR;
	if (ip_payload < sizeof(*udp))
		return PARSED_OTHER; // the stack drops it before it looks for a socket
	if (l4 > MAX_OFFSET)
		return PARSED_NONLINEAR;
	p->l4 = l4;
	p->sport = ntohs(udp->source);
	p->dport = ntohs(udp->dest);
	__u32 len = ntohs(udp->len);
	if (len < sizeof(*udp) || (len > ip_payload && !p->fragment) || p->mapped)
		return PARSED_BAD;
	p->len = len - sizeof(*udp);
	return PARSED_UDP;
}

static __always_inline int parse_ipv4(void *data, void *end, __u32 frame, struct packet *p, const int plain)
{
	struct iphdr *ip = data + p->l3;
	if ((void *)(ip + 1) > end)
		return PARSED_OTHER;
	__u32 ihl = (ip->version_ihl & 0xf) * 4, total = ntohs(ip->tot_len), frag = ntohs(ip->frag_off);
	p->saddr[2] = p->daddr[2] = htonl(0xffff);
	p->saddr[3] = ip->saddr;
	p->daddr[3] = ip->daddr;
	if (ip->protocol != IPPROTO_UDP || ip->version_ihl >> 4 != 4)
		return PARSED_OTHER;
	if (ihl < sizeof(*ip) || total < ihl || total > frame - p->l3)
		return plain ? PARSED_NOT_PLAIN : PARSED_OTHER; // the stack drops it before it looks at the protocol
	if (plain && unlikely(frag & (IP_MF | IP_OFFSET)))
		return PARSED_NOT_PLAIN;
	if (unlikely(frag & (IP_MF | IP_OFFSET))) {
		p->id = ip->id;
		if (frag & IP_OFFSET)
			return PARSED_LATER_FRAGMENT;
		p->fragment = 1;
	}
	return parse_udp(data, end, p, p->l3 + ihl, total - ihl);
}

// v4_mapped addresses have no place on a wire (RFC 4291 section 2.5.5.2); taken for what they map they would be
// somebody's IPv4 flow.
static __always_inline int v4_mapped(const __u32 *a) { return a[0] == 0 && a[1] == 0 && a[2] == htonl(0xffff); }

static __always_inline int parse_ipv6(void *data, void *end, __u32 frame, struct packet *p, const int plain)
{
	struct ipv6hdr *ip = data + p->l3;
	if ((void *)(ip + 1) > end)
		return PARSED_OTHER;
	__builtin_memcpy(p->saddr, ip->saddr, 16);
	__builtin_memcpy(p->daddr, ip->daddr, 16);
	__u32 at = p->l3 + sizeof(*ip), stop = at + ntohs(ip->payload_len);
	__u8 next = ip->nexthdr;
	if (plain && (next != IPPROTO_UDP || stop > frame))
		return PARSED_NOT_PLAIN;
	if (ntohl(ip->version_flow) >> 28 != 6 || stop > frame)
		return PARSED_OTHER;
	p->v6 = 1;
	p->mapped = v4_mapped(p->saddr) || v4_mapped(p->daddr);
	for (int i = 0; !plain && i < MAX_EXTENSIONS && unlikely(next != IPPROTO_UDP); i++) {
		struct ipv6exthdr *ext = data + at;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			return PARSED_OTHER;
		if (at + sizeof(*ext) > stop)
			return PARSED_OTHER;
		if ((void *)(ext + 1) > end)
			return PARSED_NONLINEAR;
		__u32 size = 8 + ext->len * 8;
		if (next == IPPROTO_FRAGMENT) {
			__u16 offset = ntohs(ext->offset);
			size = 8;
			p->id = ext->id;
			if (offset & IP6_OFFSET)
				return PARSED_LATER_FRAGMENT;
			p->fragment = offset & IP6_MF; // an atomic fragment (RFC 6946) is whole
		}
		next = ext->nexthdr;
		at += size;
		if (at > stop)
			return PARSED_OTHER;
	}
	return next == IPPROTO_UDP ? parse_udp(data, end, p, at, stop - at) : PARSED_EXTENSIONS;
}

// parse_packet fills p, which must be zero, from a frame of the given length, of which data to end is at hand. If it
// shall be plain and is not, p must be made zero again.
static __always_inline int parse_packet(void *data, void *end, __u32 frame, struct packet *p, const int plain)
{
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return PARSED_OTHER;
	__u16 type = ntohs(eth->type);
	p->l3 = sizeof(*eth);
	p->group = ((eth->dst[0] | eth->src[0]) & htons(0x0100)) != 0;
#pragma unroll
	for (int i = 0; !plain && i < MAX_VLANS; i++) {
		struct vlanhdr *vlan = data + p->l3;
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		if ((void *)(vlan + 1) > end)
			return PARSED_OTHER;
		type = ntohs(vlan->type);
		p->l3 += sizeof(*vlan);
	}
	if (type == ETH_P_IP)
		return parse_ipv4(data, end, frame, p, plain);
	if (type == ETH_P_IPV6)
		return parse_ipv6(data, end, frame, p, plain);
	return plain && (type == ETH_P_8021Q || type == ETH_P_8021AD) ? PARSED_NOT_PLAIN : PARSED_OTHER;
}
