// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "parse.h"
#include "recent.h"
#include "services.h"

// What most packets are takes little to decide: junk of a flood, which is dropped, and records of flows that were there within the
// last second, which pass. The programs decide on these before anything is written down about them but counters, by the rules
// of the rest; whatever takes more to see is left to the rest.

// plain_payload returns the length of the payload of a plain IPv4 datagram, whose headers are readable, in a frame that has so many
// bytes from ip on. 0: it is empty, or not such a datagram.
static __always_inline __u32 plain_payload(const struct iphdr *ip, const void *end, __u32 frame)
{
	const struct udphdr *udp = (const void *)(ip + 1);
	if (((const struct ethhdr *)ip - 1)->type != htons(ETH_P_IP) || ip->version_ihl != 0x45 || ip->protocol != IPPROTO_UDP ||
	    ip->frag_off & htons(IP_MF | IP_OFFSET))
		return 0;
	__u32 total = ntohs(ip->tot_len), length = ntohs(udp->len);
	if (length <= sizeof(*udp) || length + sizeof(*ip) > total || total > frame || header_sum(ip, end, sizeof(*ip), 1) != 0xffff)
		return 0;
	return length - sizeof(*udp);
}

// sole_service returns the service at an IPv4 address and a port that has no other.
static __always_inline struct service *sole_service(const struct port_use *use, __u32 addr, __u32 *index)
{
	const __u32 address[4] = {0, 0, htonl(0xffff), addr};
	if (!use)
		return 0;
	*index = use->service - 1; // of no service if the port has none or several
	struct service *svc = LOOKUP(services, *index);
	return svc && has_address(svc, address, 0) ? svc : 0;
}

// encrypted reports whether a record's header, from DTLS_FIRST on, is one of REASON_ENCRYPTED.
static __always_inline int encrypted(const __u8 *head)
{
	return head[0] >= DTLS13_FIRST || (head[1] == VERSION_MAJOR && (head[0] == TYPE_CID || head[3] | head[4]));
}

enum { LATE = -1 };

// drop_junk drops and counts a datagram with this payload, not empty, that is not DTLS, to a service that drops these.
static __always_inline int drop_junk(const void *data, const void *end, const struct iphdr *ip, const struct udphdr *udp)
{
	__u32 index, length = plain_payload(ip, end, end - (const void *)ip);
	if (!length)
		return LATE;
	const struct service *svc = sole_service(LOOKUP(ports, ntohs(udp->dest)), ip->daddr, &index);
	const struct control *c = control();
	if (!svc || !(svc->flags & SERVICE_DROPS_JUNK) || c->prefixes | c->capturing)
		return LATE;
	struct counters *count = counters(index);
	if (!count)
		return LATE;
	note_sender(data);
	count->reason[REASON_NOT_DTLS]++;
	add_packet(&count->verdict[VERDICT_DROP_UNVERIFIED], length);
	return XDP_DROP;
}

// pass_recent passes and counts a record of a recent flow.
static __always_inline int pass_recent(const void *data, const void *end, const struct iphdr *ip, const struct udphdr *udp)
{
	const struct control *c = control();
	__u32 index, id = recent_ipv4(c, ip->saddr, ntohs(udp->source)); // first: a flood of records without a flow is not read twice
	if (id == NO_SERVICE)
		return LATE;
	__u32 length = plain_payload(ip, end, end - (const void *)ip);
	if (length < RECORD_HEADER)
		return LATE;
	const struct service *svc = sole_service(LOOKUP(ports, ntohs(udp->dest)), ip->daddr, &index);
	if (!svc || svc->id != id || svc->flags & SERVICE_ONLY_ON || c->prefixes | c->capturing)
		return LATE;
	struct counters *count = counters(index);
	if (!count)
		return LATE;
	note_sender(data);
	count->reason[REASON_ENCRYPTED]++;
	add_packet(&count->verdict[VERDICT_PASS_FLOW], length);
	return XDP_PASS;
}

// decide_early returns the action for a frame that is decided on early, LATE for any other. Who is on a deny list, and samples of a
// capture, are for the rest.
static __always_inline int decide_early(struct xdp_md *ctx)
{
	const void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct iphdr *ip = data + sizeof(struct ethhdr);
	const struct udphdr *udp = (void *)(ip + 1);
	const __u8 *head = (void *)(udp + 1);
	if (!link_header || (const void *)(head + 1) > end)
		return LATE;
	if (unlikely(*head < DTLS_FIRST || *head > DTLS_LAST))
		return drop_junk(data, end, ip, udp);
	if ((const void *)(head + RECORD_HEADER) > end || !encrypted(head))
		return LATE;
	return pass_recent(data, end, ip, udp);
}
