//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// The generator: run by BPF_PROG_RUN with live frames, each run makes one frame and sends it.

#include "bench.h"

char _license[] SEC("license") = "Dual BSD/GPL";

#define MAX_WORDS 192 // 1536 bytes: a full Ethernet frame

// The frame without what varies, and where that goes. Constants, so that the verifier makes straight code of
// the loop below. Offsets are even, except that 0 stands for: no such field.
const volatile __u64 frame[MAX_WORDS];
const volatile __u32 words;      // of frame
const volatile __u32 source_at;  // last 4 bytes of the source address
const volatile __u32 port_at;    // UDP source port
const volatile __u32 check_at;   // IPv4 header checksum
const volatile __u32 seq_at;     // last byte of the record sequence number
const volatile __u32 random_at;  // 8 bytes of the random
const volatile __u32 source_mask; // which bits of the source address vary, in network order
const volatile __u32 ip_sum;     // of the constant part of the IPv4 header
const volatile __u32 udp_sum;    // of that of pseudo header and datagram
const volatile __u32 out;        // interface
const volatile __u32 slack;      // bytes that the frame comes too long

// Ports from 0x4000 up: 32768 of them, none that a client's kernel or a service would think its own.
#define FIRST_PORT 0x4000
#define PORT_MASK 0x7fff
// 2^64 / golden ratio, odd: multiplying by it spreads a source over the random (Knuth, TAOCP 6.4).
#define SPREAD 0x9e3779b97f4a7c15ULL

// Read in every run, written by user space while it runs.
volatile __u32 stop;
volatile __u64 interval; // ns between frames; 0: as fast as it goes
volatile __u64 burst;    // ns of frames that a late generator may catch up with

struct thread {
	__u64 state; // of the random numbers, never 0
	__u64 next;  // when the next frame is due
	__u64 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} threads SEC(".maps");

// due says whether the rate allows a frame now.
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

SEC("xdp") int flood(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct thread *t = bpf_map_lookup_elem(&threads, &zero);
	if (!t || stop || !due(t))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + words * 8 > end)
		return XDP_ABORTED;
	// The whole frame: frames come back with whatever their receiver wrote into them.
	__u64 *w = data;
#pragma unroll
	for (int i = 0; i < MAX_WORDS; i++) {
		if (i >= words)
			break;
		w[i] = frame[i];
	}
	__u64 r = next_random(t);
	__u32 source = *(__u32 *)(data + source_at) | ((__u32)r & source_mask);
	__u16 port = htons(FIRST_PORT + (r >> 32 & PORT_MASK));
	*(__u32 *)(data + source_at) = source;
	*(__u16 *)(data + port_at) = port;
	// The rest follows from the source, so that an answer can be checked without knowing its question.
	__u64 sum = (__u64)udp_sum + source + port;
	if (seq_at) {
		__u8 seq = ntohs(port);
		*(__u8 *)(data + seq_at) = seq;
		sum += htons(seq << 8); // it is the first of its two
	}
	if (random_at) {
		__u64 random = ((__u64)source << 16 | port) * SPREAD;
		*(__u64 *)(data + random_at) = random;
		sum += (random & 0xffffffff) + (random >> 32);
	}
	if (check_at)
		*(__u16 *)(data + check_at) = ~fold((__u64)ip_sum + source);
	__u16 check = ~fold(sum);
	*(__u16 *)(data + port_at + 6) = check ? check : 0xffff;
	// Only a changed length makes the kernel set the frame's length again, which the receiver may have cut.
	if (bpf_xdp_adjust_tail(ctx, -(int)slack))
		return XDP_ABORTED;
	t->sent++;
	return bpf_redirect(out, 0);
}
