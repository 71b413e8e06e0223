// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "parse.h"
#include "services.h"

// Most of a flood that is not DTLS is dropped before anything is written down about it but its counters, in a third of the time
// that the rest of the program takes.

// junk_service returns the service that a plain IPv4 datagram is for, if it drops what is not DTLS whoever sends it.
static __always_inline struct service *junk_service(const struct iphdr *ip, const struct udphdr *udp, __u32 *index)
{
	struct port_use *use = LOOKUP(ports, ntohs(udp->dest));
	if (!use)
		return 0;
	*index = use->service - 1; // of no service if the port has none or several
	struct service *svc = LOOKUP(services, *index);
	if (!svc || !(svc->flags & SERVICE_DROPS_JUNK))
		return 0;
	const __u32 address[4] = {0, 0, htonl(0xffff), ip->daddr};
	return has_address(svc, address, 0) ? svc : 0;
}

// drop_junk reports whether a frame is a plain IPv4 datagram that is not DTLS, to a service that drops these, and counts it. The
// rest of the program would drop it for the same reason; whatever takes more to see is left to it.
static __always_inline int drop_junk(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct udphdr *udp = (void *)(ip + 1);
	const __u8 *first = (void *)(udp + 1);
	__u32 index, frame = end - (const void *)ip;
	if (!link_header || (const void *)(first + 1) > end)
		return 0;
	if (likely(*first >= DTLS_FIRST && *first <= DTLS_LAST))
		return 0;
	if (((const struct ethhdr *)data)->type != htons(ETH_P_IP) || ip->version_ihl != 0x45 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & htons(IP_MF | IP_OFFSET))
		return 0;
	__u32 total = ntohs(ip->tot_len), length = ntohs(udp->len);
	if (length <= sizeof(*udp) || length + sizeof(*ip) > total || total > frame || header_sum(ip, end, sizeof(*ip), 1) != 0xffff)
		return 0;
	if (!junk_service(ip, udp, &index))
		return 0;
	const struct control *c = control();
	if (c->prefixes | c->capturing) // it may be dropped for its sender, or be a sample
		return 0;
	struct counters *count = counters(index);
	if (!count)
		return 0;
	note_sender(data);
	count->reason[REASON_NOT_DTLS]++;
	add_packet(&count->verdict[VERDICT_DROP_UNVERIFIED], length - sizeof(*udp));
	return 1;
}
