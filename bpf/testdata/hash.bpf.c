// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors

// The hashes of the guard's cookies and nothing else, for tests of them and BenchmarkHash.

#include "sha256.h"
#include "siphash.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct question {
	struct sha256 hash;
	struct siphash sip;
	struct key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct question);
} questions SEC(".maps");

SEC("xdp") int hash(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct question *q = bpf_map_lookup_elem(&questions, &zero);
	return q ? hmac_sha256(&q->hash, &q->key) : -1;
}

SEC("xdp") int sip(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct question *q = bpf_map_lookup_elem(&questions, &zero);
	return q ? siphash(&q->sip, &q->key) : -1;
}
