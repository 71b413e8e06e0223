//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// Runs at the other end of the flood: counts and checks answers, keeps a few, and drops them.

#include "bench.h"

char _license[] SEC("license") = "Dual BSD/GPL";

const volatile __u16 ether_type; // these and the following in network order
const volatile __u32 udp_at;
const volatile __u32 dest_at;   // last 4 bytes of the destination address
const volatile __u32 dest;      // last 4 bytes of the flood's source addresses, constant bits
const volatile __u32 dest_mask; // which bits are constant
const volatile __u16 port;       // the service's

// IPv4 only: answers are sent back unchanged, with addresses and ports swapped, instead of being dropped.
const volatile __u32 send_back;

#define SAMPLE 128       // bytes kept of an answer: a HelloVerifyRequest over IPv6 is 122 with its headers
#define SAMPLES 64
#define SAMPLE_EVERY 1009 // prime, so that samples do not align with batches

struct count {
	__u64 answers;
	__u64 right; // HelloVerifyRequests with the record sequence number of their question
	__u64 bytes;
};

struct sample {
	__u32 length;
	__u8 frame[SAMPLE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SAMPLES);
	__type(key, __u32);
	__type(value, struct sample);
} samples SEC(".maps");

// The shortest HelloVerifyRequest: two headers, server_version and the cookie's length (RFC 6347 sections 4.1 and 4.2.2).
#define LEAST 28

// right reports whether a datagram of length bytes is a HelloVerifyRequest with consistent lengths and the record
// sequence number of its question, whose last byte is seq.
static __always_inline int right(const __u8 *d, __u32 length, __u8 seq)
{
	enum { HANDSHAKE = 22, HELLO_VERIFY = 3 };
	const __u8 message = length - 25, fd = 0xfd, ff = 0xff;
	return length <= LEAST + 255 && d[0] == HANDSHAKE && d[1] == 0xfe && (d[2] == ff || d[2] == fd) &&
	       !(d[3] | d[4] | d[5] | d[6] | d[7] | d[8] | d[9]) && d[10] == seq && // epoch and record sequence number
	       (d[11] << 8 | d[12]) == length - 13 && d[13] == HELLO_VERIFY &&
	       !(d[14] | d[17] | d[19] | d[20] | d[21] | d[22]) && d[18] <= 1 && // message_seq, and it is not a fragment
	       (d[15] << 8 | d[16]) == length - 25 && d[23] == d[15] && d[24] == message &&
	       d[25] == 0xfe && (d[26] == ff || d[26] == fd) && d[27] == length - LEAST;
}

static __always_inline void keep(void *data, void *end, __u64 n)
{
	__u32 slot = n / SAMPLE_EVERY % SAMPLES;
	struct sample *s = bpf_map_lookup_elem(&samples, &slot);
	if (!s)
		return;
	s->length = 0;
	for (int i = 0; i < SAMPLE; i++) {
		if (data + i + 1 > end)
			break;
		s->frame[i] = *(__u8 *)(data + i);
		s->length = i + 1;
	}
}

// seen counts the frame if it answers the flood.
static __always_inline int seen(void *data, void *end)
{
	if (data + udp_at + 8 + LEAST > end)
		return 0;
	struct udphdr *udp = data + udp_at;
	struct ethhdr *eth = data;
	if (eth->type != ether_type || (*(__u32 *)(data + dest_at) & dest_mask) != dest || udp->source != port)
		return 0;
	__u32 zero = 0;
	struct count *c = bpf_map_lookup_elem(&counts, &zero);
	if (!c)
		return 0;
	__u8 *d = (void *)(udp + 1);
	c->bytes += end - data;
	if (right(d, ntohs(udp->len) - sizeof(*udp), ntohs(udp->dest)))
		c->right++;
	if (c->answers++ % SAMPLE_EVERY == 0)
		keep(data, end, c->answers);
	return 1;
}

static __always_inline int turn_round(void *data, void *end)
{
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = (void *)(ip + 1);
	if ((void *)(udp + 1) > end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 t = eth->dst[i];
		eth->dst[i] = eth->src[i];
		eth->src[i] = t;
	}
	__u32 address = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = address;
	__u16 source = udp->source;
	udp->source = udp->dest;
	udp->dest = source;
	return XDP_TX;
}

SEC("xdp") int count_frames(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!seen(data, end))
		return XDP_PASS;
	return send_back ? turn_round(data, end) : XDP_DROP;
}

SEC("tcx/ingress") int count_skbs(struct __sk_buff *skb)
{
	return seen((void *)(long)skb->data, (void *)(long)skb->data_end) ? TCX_DROP : TCX_NEXT;
}
