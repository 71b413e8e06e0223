// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// The loader sets the sizes marked with a star.

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 16);
	__type(key, __u32);
	__type(value, struct port_use);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); // *
	__type(key, __u32);
	__type(value, struct service);
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096); // * two addresses per service, and a marker without a port for each
	__type(key, struct service_key);
	__type(value, __u32);
} service_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); // *
	__type(key, __u32);
	__type(value, struct service_state);
} service_states SEC(".maps");

// One element per service, and a last one for packets to no service.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1025); // *
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

// Proved addresses, mapped into the daemon's memory.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << ADDRESS_BITS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct address_bucket);
} addresses SEC(".maps");

// Prefixes that are allowed or denied: the longest match decides.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, __u32);
} prefixes SEC(".maps");

// Token buckets per network, as source_buckets.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} net_buckets SEC(".maps");

// Peers of established flows: inline those that the server sent protected records, in a proxy those that workers have a flow
// for. A new flow evicts none: the daemon removes idle ones.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); // *
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

// Peers that have presented a valid cookie and not finished a handshake; a new one evicts the one that was silent for
// longest. An unverified source writes nothing here. An LRU map evicts before it is full, because each CPU reserves elements.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); // *
	__type(key, struct flow_key);
	__type(value, struct half_open_flow);
} half_open SEC(".maps");

// Datagrams whose first IP fragment passed, to a service (service_fragments) and to anything else on a protected address
// (other_fragments). Two maps, because anybody can fill the second.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragmented);
} service_fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragmented);
} other_fragments SEC(".maps");

// Two keyrings: the daemon writes the idle one, then control.keyring.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct keyring);
} keyrings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct control);
} controls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WORKERS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct credit);
} credits SEC(".maps");

// The worker of a CPU plus 1, 0 for none; and the CPU of a worker.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__type(value, __u32);
} cpu_workers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WORKERS);
	__type(key, __u32);
	__type(value, __u32);
} worker_cpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1); // * the CPUs of this machine: the kernel refuses more
	__type(key, __u32);
	__type(value, __u32);
} cpus SEC(".maps");

// Sockets of the workers: service * MAX_WORKERS + worker.
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, MAX_WORKERS); // * as many for each service
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

// Token buckets per source prefix, a fixed number: sources that collide share one.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} source_buckets SEC(".maps");

// Tokens of half-open flows: of sources, of prefixes, and of all together. Mapped into the daemon's memory, because workers
// take them too.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HALF_OPEN_ALL + 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} half_open_buckets SEC(".maps");

// The same for protected records of unknown flows.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} unverified_buckets SEC(".maps");

// One per CPU for the answers to all services: it protects the uplink that they share.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} answer_bucket SEC(".maps");

// One for all later IP fragments that arrive before their first.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fragment_bucket SEC(".maps");

// Harvested cookies of all services, each service with its own part. Mapped into the daemon's memory, and not pinned: the
// upstream sockets whose cookies these are end with the daemon.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); // *
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pool_entry);
} harvested SEC(".maps");

// A capture: what it samples, the sample that a CPU works on, and those on their way to the daemon. Not pinned.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct capture_filter);
} capture SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_sample);
} sample SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18); // bytes, of some 400 samples
} captured SEC(".maps");

// MAC addresses that recent frames to services came from. Mapped into the memory of the daemon, which reads and clears it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct sender_table);
} senders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} scratch SEC(".maps");

volatile const __u32 no_service_index = 1024; // element of counts for packets to no service
volatile const __u64 hash_key[2] = {0, 0}; // random, set by the loader, so that nobody can choose a bucket

// several_buffers is 1 in the program for frames in several buffers, which the loader gives a section of its own.
volatile const __u32 several_buffers SEC(".rodata.buffers") = 0;

// Puts these enums into the object, from which enums.go is generated. Tests compare enum reason with the parser, and the
// effect of enum harvest with the workers.
volatile const struct {
	enum reason reason;
	enum verdict verdict;
	enum cookie_state cookie_state;
	enum egress egress;
	enum socket socket;
	enum ingress ingress;
	enum answer answer;
	enum unverified unverified;
	enum format format;
	enum class class;
	enum harvest harvest;
} enums = {};

#define LOOKUP(map, index)                                  \
	({                                                  \
		__u32 k__ = (index);                        \
		bpf_map_lookup_elem(&map, &k__);            \
	})

// Values of maps with one element. The loader points references to these variables at the map's element (bpf's direct),
// which saves the look-up.
struct control control_value SEC(".data.control");
struct sender_table sender_value SEC(".data.senders");

static __always_inline struct control *control(void) { return &control_value; }

static __always_inline struct counters *counters(__u32 index) { return LOOKUP(counts, index); }

static __always_inline void add_packet(struct tally *t, __u32 bytes)
{
	t->packets++;
	t->bytes += bytes;
}

// tick_time is CLOCK_MONOTONIC in ns, as of the last tick. Reading the tick is one load; the clock, whose call costs 14 ns,
// is read once per tick.
static __always_inline __u64 tick_time(struct work *w)
{
	__u64 tick = bpf_jiffies64();
	if (unlikely(w->tick != tick)) {
		w->tick = tick;
		w->now = bpf_ktime_get_coarse_ns();
	}
	return w->now;
}

static __always_inline __u64 coarse_now(void)
{
	struct work *w = LOOKUP(scratch, 0);
	return w ? tick_time(w) : bpf_ktime_get_coarse_ns();
}
