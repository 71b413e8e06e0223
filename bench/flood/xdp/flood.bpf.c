//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// The generator: BPF_PROG_RUN runs it with live frames, and each run makes and sends one frame.

#include "bench.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define FRAME 1536 // bytes: more than a full Ethernet frame
#define MAX_TEMPLATES 32
#define MAX_ITEMS 16

// A frame without what varies, and the offsets of what varies. Offsets are even; 0: no such field.
struct template {
	__u32 length;
	__u32 seq_at;    // last byte of the record sequence number
	__u32 random_at; // 8 bytes of the random
	__u32 ip_sum;    // of the constant part of the IPv4 header
	__u32 udp_sum;   // of the constant part of pseudo header and datagram
	__u32 next;      // template that the same source sends next; 0: none
	__u32 question;  // 1: requires an answer
	__u32 unused;
	__u64 frame[FRAME / 8];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_TEMPLATES);
	__type(key, __u32);
	__type(value, struct template);
} templates SEC(".maps");

// Constants, so that the verifier removes what a flood of one template does not need.
const volatile __u32 items;            // first templates, at most MAX_ITEMS
const volatile __u32 until[MAX_ITEMS]; // a source whose upper half of the spread is below it sends the item
const volatile __u32 source_at;        // last 4 bytes of the source address
const volatile __u32 port_at;          // UDP source port
const volatile __u32 check_at;         // IPv4 header checksum
const volatile __u32 source_mask;      // which bits of the source address vary, in network order
const volatile __u32 source_base;      // its constant bits
const volatile __u32 first_port;
const volatile __u32 ports;
const volatile __u32 follows; // whether any template has a next
const volatile __u32 out;     // interface
const volatile __u32 room;    // bytes of a frame at the start of the program, more than any template has

// A flood of a single template takes it from here: the verifier turns constants into straight code, which is 25 % faster
// than a copy from the map.
const volatile __u32 single;
const volatile struct template only;

// 2^64 / golden ratio, odd: multiplying by it spreads sources over the random (Knuth, TAOCP 6.4).
#define SPREAD 0x9e3779b97f4a7c15ULL

// Read in every run, while user space may write them.
volatile __u32 stop;
volatile __u64 interval; // ns between frames; 0: unlimited
volatile __u64 burst;    // ns of frames that a late generator may catch up with
volatile __u64 limit;    // frames in all

struct thread {
	__u64 state; // of the random number generator, never 0
	__u64 next;  // when the next frame is due
	__u64 sent;
	__u64 questions; // of them
	__u64 last;      // random number of the frame before
	__u64 follow;    // template that its source has still to send; 0: none
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

// due reports whether the rate allows a frame now.
static __always_inline int due(struct thread *t)
{
	__u64 each = interval;
	if (!each)
		return 1;
	__u64 now = bpf_ktime_get_ns();
	if (now < t->next)
		return 0;
	if (t->next + burst < now)
		t->next = now - burst;
	t->next += each;
	return 1;
}

static __always_inline __u64 next_random(struct thread *t)
{
	__u64 x = t->state; // xorshift64 (Marsaglia 2003, triple 13 7 17)
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	t->state = x;
	return x;
}

// item returns the item that a source sends.
static __always_inline __u32 item(__u64 spread)
{
	__u32 x = spread >> 32, i = 0;
	if (items > 1) {
#pragma unroll
		for (int j = 0; j < MAX_ITEMS - 1; j++) {
			if (j + 1 >= items)
				break;
			i += x >= until[j];
		}
	}
	return i;
}

// Boxes hold the datagrams that sockets of this CPU send to the flood's destination. Each is sent before one of the
// flood's own frames, a random one of the next path frames.
#define BOXES 256 // a power of two, and more datagrams than clients have in flight

struct box {
	__u64 at; // number of frames sent by the generator when it is due
	__u32 length;
	__u32 unused;
	__u8 frame[FRAME];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BOXES);
	__type(key, __u32);
	__type(value, struct box);
} boxes SEC(".maps");

const volatile __u32 carries;
const volatile __u32 destination_at; // last 4 bytes of the destination address
const volatile __u32 destination;    // those bytes, in network order
const volatile __u16 destination_port; // in network order
volatile __u32 path; // length of the path in frames, at least 1
volatile __u32 running;
__u64 given, taken; // boxes filled and emptied; both programs run on one CPU

// collect puts a datagram into a box. Without a free box it passes.
SEC("tcx/egress") int collect(struct __sk_buff *skb)
{
	__u32 zero = 0, index = given & (BOXES - 1), length = skb->len, address;
	__u16 port;
	struct thread *t = bpf_map_lookup_elem(&threads, &zero);
	struct box *b = bpf_map_lookup_elem(&boxes, &index);
	if (!t || !b || !running || given - taken >= BOXES || !bound_length(&length, FRAME))
		return TCX_NEXT;
	if (bpf_skb_load_bytes(skb, destination_at, &address, sizeof(address)) || address != destination ||
	    bpf_skb_load_bytes(skb, port_at + 2, &port, sizeof(port)) || port != destination_port ||
	    bpf_skb_load_bytes(skb, 0, b->frame, length))
		return TCX_NEXT;
	b->length = length;
	b->at = t->sent + ((__u64)bpf_get_prandom_u32() * path >> 32);
	given++;
	return TCX_DROP;
}

// carry makes the frame the next collected datagram, if that is due, and returns its length.
static __always_inline __u32 carry(struct xdp_md *ctx, const struct thread *t)
{
	__u32 index = taken & (BOXES - 1);
	struct box *b = bpf_map_lookup_elem(&boxes, &index);
	if (!b || t->sent < b->at)
		return 0;
	taken++;
	__u32 length = b->length;
	if (!bound_length(&length, FRAME) || bpf_xdp_store_bytes(ctx, 0, b->frame, length))
		return 0;
	return length;
}

SEC("xdp") int flood(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct thread *t = bpf_map_lookup_elem(&threads, &zero);
	if (!t || stop || t->sent >= limit || !due(t))
		return XDP_DROP;
	if (carries && taken != given) {
		__u32 carried = carry(ctx, t);
		if (carried)
			return bpf_xdp_adjust_tail(ctx, (int)carried - (int)room) ? XDP_ABORTED : bpf_redirect(out, 0);
	}
	__u64 r = follows && t->follow ? t->last : next_random(t);
	__u32 source = source_base | ((__u32)r & source_mask);
	__u16 port = htons(first_port + ((r >> 48) * ports >> 16));
	// Everything else follows from the source, so that an answer can be checked without knowing its question.
	__u64 spread = ((__u64)source << 16 | port) * SPREAD;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u64 sum = (__u64)source + port;
	__u32 length, seq_at, random_at, ip_sum, question, next = 0;
	// Write the whole frame: recycled frames have what their receiver wrote.
	if (single) {
		length = only.length, seq_at = only.seq_at, random_at = only.random_at, ip_sum = only.ip_sum;
		sum += only.udp_sum, question = only.question;
		__u32 words = (length + 7) / 8;
		if (data + words * 8 > end)
			return XDP_ABORTED;
		__u64 *w = data, i = 0;
		// Unrolled by hand, eight at a time: a compiler that unrolls counts from below zero, and verifiers before
		// Linux 6.17 cannot negate constants.
		for (; i + 8 <= words; i += 8) {
			opaque(i);
#pragma unroll
			for (int j = 0; j < 8; j++)
				w[i + j] = only.frame[i + j];
		}
		for (; i < words; i++) {
			opaque(i);
			w[i] = only.frame[i];
		}
	} else {
		__u32 index = follows && t->follow ? t->follow : item(spread);
		struct template *m = bpf_map_lookup_elem(&templates, &index);
		if (!m)
			return XDP_ABORTED;
		length = m->length, seq_at = m->seq_at, random_at = m->random_at, ip_sum = m->ip_sum;
		sum += m->udp_sum, question = m->question, next = m->next;
		if (!bound_length(&length, FRAME) || bpf_xdp_store_bytes(ctx, 0, m->frame, length))
			return XDP_ABORTED;
	}
	if (data + port_at + 8 > end)
		return XDP_ABORTED;
	*(__u32 *)(data + source_at) = source;
	*(__u16 *)(data + port_at) = port;
	if (seq_at) {
		__u8 seq = ntohs(port), *p = data + (seq_at & 0xff);
		if ((void *)(p + 1) > end)
			return XDP_ABORTED;
		*p = seq;
		sum += htons(seq << 8); // the first byte of its word
	}
	if (random_at) {
		__u64 *p = data + (random_at & 0xff);
		if ((void *)(p + 1) > end)
			return XDP_ABORTED;
		*p = spread;
		sum += (spread & 0xffffffff) + (spread >> 32);
	}
	if (check_at)
		*(__u16 *)(data + check_at) = ~fold((__u64)ip_sum + source);
	__u16 check = ~fold(sum);
	*(__u16 *)(data + port_at + 6) = check ? check : 0xffff;
	if (follows) {
		t->last = r;
		t->follow = next;
	}
	t->sent++;
	t->questions += question;
	// Frames are too long at the start of the program, because only a changed length makes the kernel set the frame's
	// length again, which the receiver may have cut.
	if (bpf_xdp_adjust_tail(ctx, (int)length - (int)room))
		return XDP_ABORTED;
	return bpf_redirect(out, 0);
}
