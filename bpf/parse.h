// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "checksum.h"
#include "types.h"

// Parses from the link layer to UDP, without maps. A packet that cannot be parsed and may be UDP to a service has its own
// result. PARSED_OTHER, which passes, is only for packets that the stack delivers to no UDP socket.

enum parsed {
	PARSED_UDP,
	PARSED_OTHER,          // neither UDP over IP nor on the way to it
	PARSED_LATER_FRAGMENT, // an IP fragment without ports; addresses, id and len are set
	PARSED_EXTENSIONS,     // headers before UDP that are too many, too long, nested or cut; addresses are set
	PARSED_BAD,            // UDP whose lengths or sums contradict each other, or of impossible addresses; ports are set
	PARSED_NONLINEAR,      // headers reach past the first buffer; addresses are set
	PARSED_UNSEEN,         // IP with more tags than are followed, or with addresses past the first buffer
	PARSED_NOT_PLAIN,      // only from the parser of plain packets
	PARSED_INNER,          // another IP header, of the version in p->inner, follows at p->l3
};

// A plain packet is not fragmented, in one buffer, without VLAN tags, options or extension headers. Nearly all are plain.
// Parsing them needs neither loops nor helpers, so it is inline: a call costs 7 ns on CPUs with guarded returns.

static __always_inline int parse_udp(void *data, void *end, struct packet *p, __u32 l4, __u32 ip_payload)
{
	if (l4 > MAX_OFFSET)
		return PARSED_NONLINEAR;
	struct udphdr *udp = data + (l4 & MAX_OFFSET);
	if (ip_payload < sizeof(*udp))
		return PARSED_EXTENSIONS;
	if ((void *)(udp + 1) > end)
		return PARSED_NONLINEAR;
	p->l4 = l4;
	p->sport = ntohs(udp->source);
	p->dport = ntohs(udp->dest);
	__u32 len = ntohs(udp->len);
	// IPv6 requires a UDP checksum (RFC 8200 section 8.1).
	if (len < sizeof(*udp) || (len > ip_payload && !p->fragment) || p->bad || (p->v6 && !udp->check))
		return PARSED_BAD;
	p->len = len - sizeof(*udp);
	return PARSED_UDP;
}

// header_sum returns the sum of an IPv4 header of size bytes, whose first 20 are readable: 0xffff if the checksum is right,
// 0 if the rest is not readable. Hosts drop packets with a wrong one (RFC 1122 section 3.2.1.2), so the guard does too.
static __always_inline __u32 header_sum(const void *header, const void *end, __u32 size, const int plain)
{
	const __u32 *w = header;
	__u64 sum = (__u64)w[0] + w[1] + w[2] + w[3] + w[4];
	for (__u32 at = 20; !plain && at < 60 && at < size; at += 4) {
		w = header + at;
		asm volatile("" : "+r"(w)); // else the compiler does arithmetic on end, which the verifier rejects
		if ((void *)(w + 1) > end)
			return 0;
		sum += *w;
	}
	return fold(sum);
}

static __always_inline int parse_ipv4(void *data, void *end, __u32 frame, struct packet *p, __u32 l3, const int plain)
{
	struct iphdr *ip = data + l3;
	if ((void *)(ip + 1) > end)
		return frame < l3 + sizeof(*ip) ? PARSED_OTHER : PARSED_UNSEEN;
	__u32 ihl = (ip->version_ihl & 0xf) * 4, total = ntohs(ip->tot_len), frag = ntohs(ip->frag_off);
	p->saddr[2] = p->daddr[2] = htonl(0xffff);
	p->saddr[3] = ip->saddr;
	p->daddr[3] = ip->daddr;
	if (unlikely(ip->protocol != IPPROTO_UDP)) {
		if (ip->protocol != IPPROTO_IPIP && ip->protocol != IPPROTO_IPV6)
			return PARSED_OTHER;
		if (plain)
			return PARSED_NOT_PLAIN;
	}
	if (plain && unlikely(ip->version_ihl != 0x45 || total > frame - l3 || total < sizeof(*ip) || frag & (IP_MF | IP_OFFSET)))
		return PARSED_NOT_PLAIN;
	if (!plain && (ip->version_ihl >> 4 != 4 || ihl < sizeof(*ip) || total < ihl || total > frame - l3))
		return PARSED_OTHER; // the stack drops it before it reads the protocol
	if (!plain && (ip->protocol == IPPROTO_IPIP || ip->protocol == IPPROTO_IPV6)) {
		p->l3 = l3 + ihl;
		p->inner = ip->protocol == IPPROTO_IPIP ? 4 : 6;
		return frag & IP_OFFSET ? PARSED_OTHER : PARSED_INNER;
	}
	p->bad = header_sum(ip, end, ihl, plain) != 0xffff;
	if (!plain)
		p->routed = ihl > sizeof(*ip); // an option may be a source route, whose last address is the destination
	if (!plain && frag & (IP_MF | IP_OFFSET)) {
		p->id = ip->id;
		if (frag & IP_OFFSET) {
			p->len = total - ihl;
			return PARSED_LATER_FRAGMENT;
		}
		p->fragment = 1;
	}
	return parse_udp(data, end, p, l3 + ihl, total - ihl);
}

// v4_mapped addresses must not appear on a wire (RFC 4291 section 2.5.5.2): in the maps they would be another host's IPv4
// flow.
static __always_inline int v4_mapped(const __u32 *a) { return a[0] == 0 && a[1] == 0 && a[2] == htonl(0xffff); }

// parse_extensions follows the extension headers from offset at to UDP; the packet ends at stop.
static __always_inline int parse_extensions(void *data, void *end, struct packet *p, __u32 at, __u32 stop, __u8 next)
{
	for (int i = 0; i < MAX_EXTENSIONS && next != IPPROTO_UDP; i++) {
		if (next == IPPROTO_IPIP || next == IPPROTO_IPV6) {
			p->l3 = at;
			p->inner = next == IPPROTO_IPIP ? 4 : 6;
			return PARSED_INNER;
		}
		// No other header leads to UDP except IPsec's, whose key authenticates the sender.
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			return PARSED_OTHER;
		if (at > MAX_OFFSET)
			return PARSED_NONLINEAR;
		struct ipv6exthdr *ext = data + (at & MAX_OFFSET);
		if (at + sizeof(*ext) > stop)
			return PARSED_EXTENSIONS;
		if ((void *)(ext + 1) > end)
			return PARSED_NONLINEAR;
		__u32 size = 8 + ext->len * 8;
		__u16 offset = ntohs(ext->offset);
		if (next == IPPROTO_ROUTING && offset & 0xff) // segments left: the header does not have the final destination
			p->routed = 1;
		if (next == IPPROTO_FRAGMENT) {
			if (p->fragment_header++)
				return PARSED_EXTENSIONS; // a fragment of a fragment
			size = 8;
			p->id = ext->id;
			if (offset & IP6_OFFSET) {
				p->len = stop - at - size;
				return PARSED_LATER_FRAGMENT;
			}
			p->fragment = offset & IP6_MF; // an atomic fragment (RFC 6946) is complete
		}
		next = ext->nexthdr;
		at += size;
		if (at > stop)
			return PARSED_EXTENSIONS; // the header chain continues in a later fragment, which RFC 7112 forbids
	}
	return next == IPPROTO_UDP ? parse_udp(data, end, p, at, stop - at) : PARSED_EXTENSIONS;
}

static __always_inline int parse_ipv6(void *data, void *end, __u32 frame, struct packet *p, __u32 l3, const int plain)
{
	struct ipv6hdr *ip = data + l3;
	if ((void *)(ip + 1) > end)
		return frame < l3 + sizeof(*ip) ? PARSED_OTHER : PARSED_UNSEEN;
	__builtin_memcpy(p->saddr, ip->saddr, 16);
	__builtin_memcpy(p->daddr, ip->daddr, 16);
	__u32 at = l3 + sizeof(*ip), stop = at + ntohs(ip->payload_len);
	__u8 next = ip->nexthdr;
	if (ntohl(ip->version_flow) >> 28 != 6)
		return PARSED_OTHER;
	if (plain && (next == IPPROTO_TCP || next == IPPROTO_ICMPV6))
		return PARSED_OTHER;
	if (plain && (next != IPPROTO_UDP || stop > frame))
		return PARSED_NOT_PLAIN;
	p->v6 = 1;
	p->bad = v4_mapped(p->saddr) || v4_mapped(p->daddr);
	if (!plain && stop == at && next == IPPROTO_HOPOPTS) {
		// A jumbogram (RFC 2675), or a packet that claims to be one: Linux takes the frame's length, even without the option.
		stop = frame;
		p->bad = 1;
	}
	if (stop > frame)
		return PARSED_OTHER;
	return plain ? parse_udp(data, end, p, at, stop - at) : parse_extensions(data, end, p, at, stop, next);
}

// ip_version returns the EtherType of a packet without a link layer, by its first byte.
static __always_inline __u16 ip_version(void *data, void *end)
{
	if (data + 1 > end)
		return 0;
	switch (*(__u8 *)data >> 4) {
	case 4:
		return ETH_P_IP;
	case 6:
		return ETH_P_IPV6;
	}
	return 0;
}

// parse_plain fills p, which must be zero, from a plain packet. For any other it returns PARSED_NOT_PLAIN; the caller must
// zero p again.
static __always_inline int parse_plain(void *data, void *end, __u32 frame, struct packet *p)
{
	__u32 l3 = link_header ? sizeof(struct ethhdr) : 0;
	__u16 type;
	if (link_header) {
		struct ethhdr *eth = data;
		if ((void *)(eth + 1) > end)
			return PARSED_OTHER;
		type = ntohs(eth->type);
		p->group = ((eth->dst[0] | eth->src[0]) & htons(0x0100)) != 0;
	} else {
		type = ip_version(data, end);
	}
	p->l3 = l3;
	if (likely(type == ETH_P_IP))
		return parse_ipv4(data, end, frame, p, l3, 1);
	if (likely(type == ETH_P_IPV6))
		return parse_ipv6(data, end, frame, p, l3, 1);
	switch (type) {
	case ETH_P_8021Q:
	case ETH_P_8021AD:
	case ETH_P_PPP_SES:
	case ETH_P_MPLS_UC:
	case ETH_P_MPLS_MC:
		return PARSED_NOT_PLAIN;
	}
	return PARSED_OTHER;
}

// mpls_payload moves p->l3 past the MPLS labels (RFC 3032) to the IP header, and returns its EtherType.
static __always_inline int mpls_payload(void *data, void *end, struct packet *p)
{
	__u32 at = p->l3;
	for (int i = 0; i < MAX_LABELS; i++) {
		__u8 *label = data + (at & MAX_OFFSET);
		if ((void *)(label + 5) > end)
			return 0;
		at += 4;
		if (label[2] & 1) {
			p->l3 = at;
			return label[4] >> 4 == 4 ? ETH_P_IP : label[4] >> 4 == 6 ? ETH_P_IPV6 : 0;
		}
	}
	return -1;
}

// pppoe_payload does the same for PPPoE (RFC 2516) and PPP, whose protocol field may be one byte (RFC 1661 section 6.5).
static __always_inline int pppoe_payload(void *data, void *end, struct packet *p)
{
	__u8 *h = data + (p->l3 & MAX_OFFSET);
	if ((void *)(h + 8) > end)
		return 0;
	__u32 protocol = h[6] & 1 ? h[6] : h[6] << 8 | h[7];
	p->l3 += h[6] & 1 ? 7 : 8;
	return protocol == 0x21 ? ETH_P_IP : protocol == 0x57 ? ETH_P_IPV6 : 0;
}

// parse_link sets p->l3 to the IP header of a frame and returns its EtherType, 0 if there is none, -1 if there may be one
// that it does not reach.
static __always_inline int parse_link(void *data, void *end, struct packet *p)
{
	if (!link_header)
		return ip_version(data, end);
	struct ethhdr *eth = data;
	if ((void *)(eth + 1) > end)
		return 0;
	__u16 type = ntohs(eth->type);
	__u32 at = sizeof(*eth);
	p->group = ((eth->dst[0] | eth->src[0]) & htons(0x0100)) != 0;
	for (int i = 0; i < MAX_VLANS && (type == ETH_P_8021Q || type == ETH_P_8021AD); i++) {
		struct vlanhdr *vlan = data + (at & MAX_OFFSET);
		if ((void *)(vlan + 1) > end)
			return 0;
		type = ntohs(vlan->type);
		at += sizeof(*vlan);
	}
	p->l3 = at;
	switch (type) {
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return -1;
	case ETH_P_MPLS_UC:
	case ETH_P_MPLS_MC:
		p->encapsulated = 1;
		return mpls_payload(data, end, p);
	case ETH_P_PPP_SES:
		p->encapsulated = 1;
		return pppoe_payload(data, end, p);
	case ETH_P_IP:
	case ETH_P_IPV6:
		return type;
	}
	return 0;
}

// parse_at parses from the IP header at p->l3 on.
static __always_inline int parse_at(void *data, void *end, __u32 frame, struct packet *p, int type)
{
	__u32 l3 = p->l3;
	if (l3 > MAX_OFFSET)
		return PARSED_UNSEEN;
	l3 &= MAX_OFFSET;
	if (type == ETH_P_IP)
		return parse_ipv4(data, end, frame, p, l3, 0);
	return parse_ipv6(data, end, frame, p, l3, 0);
}

// enter_inner prepares p for an IP header inside another one, and forgets the outer addresses.
static __always_inline int enter_inner(struct packet *p)
{
	__builtin_memset(p->saddr, 0, sizeof(p->saddr) + sizeof(p->daddr));
	p->v6 = p->bad = p->fragment = p->fragment_header = 0;
	p->encapsulated = 1;
	return p->inner == 4 ? ETH_P_IP : ETH_P_IPV6;
}
