// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "types.h"

// Sizes marked with a star are set by the loader.

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
	__uint(max_entries, 4096); // * two addresses and their port-less markers a service
	__type(key, struct service_key);
	__type(value, __u32);
} service_index SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024); // *
	__type(key, __u32);
	__type(value, struct service_state);
} service_states SEC(".maps");

// One element more than there are services: the last counts what belongs to none.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1025); // *
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

// Addresses that have proved themselves, mapped into the daemon's memory.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << ADDRESS_BITS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct address_bucket);
} addresses SEC(".maps");

// Prefixes that are allowed or denied: the longest that an address is in decides.
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

// Peers of established flows: inline, whom the server sent what follows a handshake; in a proxy, whom workers have a flow
// for. None goes for a newcomer: the daemon takes away those that are idle.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); // *
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

// Peers that proved their address by a cookie and no more; the one that was silent longest goes for a newcomer. Written for
// no unverified source. An LRU map evicts before it is full, for each CPU keeps some elements for itself.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384); // *
	__type(key, struct flow_key);
	__type(value, struct flow);
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

// The same for protected records of unknown flows.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} unverified_buckets SEC(".maps");

// One for the answers of a CPU to all services: what it protects is the uplink that they share.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} answer_bucket SEC(".maps");

// One for all later IP fragments that come before their first.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} fragment_bucket SEC(".maps");

// The ports of all services whose cookies are harvested; each has a part of it. Mapped into the daemon's memory,
// and not kept when it ends: the ports end with it.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); // *
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct pool_entry);
} harvested SEC(".maps");

// Whom frames to services came from lately. Mapped into the daemon's memory, which reads and empties it.
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

volatile const __u32 no_service_index = 1024; // element of counts for packets of no service
volatile const __u64 hash_key[2] = {0, 0}; // drawn by the loader, so that nobody can aim at a bucket

// Here so that the names of these enums are in the object: Go has enums.go, generated from
// them; a test compares enum reason with the parser, and what enum harvest does with the workers.
volatile const struct {
	enum reason reason;
	enum verdict verdict;
	enum cookie_state cookie_state;
	enum egress egress;
	enum socket socket;
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

static __always_inline struct control *control(void) { return LOOKUP(controls, 0); }

static __always_inline struct counters *counters(__u32 index) { return LOOKUP(counts, index); }

// coarse_now is CLOCK_MONOTONIC, ns, as of the last tick. To read the tick is one load, and a call to read the clock,
// some 14 ns, is made once in each.
static __always_inline __u64 coarse_now(void)
{
	struct work *w = LOOKUP(scratch, 0);
	__u64 tick = bpf_jiffies64();
	if (!w)
		return bpf_ktime_get_coarse_ns();
	if (unlikely(w->tick != tick)) {
		w->tick = tick;
		w->now = bpf_ktime_get_coarse_ns();
	}
	return w->now;
}
