// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "consts.h"

volatile const __u32 link_header = 1; // 0: the interface has no link layer, frames begin with IP

// Addresses are 16 bytes in network order, IPv4 as v4-mapped (::ffff:a.b.c.d). Ports in maps are numbers in the
// machine's order unless a comment says otherwise.

struct service {
	__u32 id;      // never reused, so that flows of a deleted service cannot match a new one
	__u32 addr[4]; // ignored for the families in any
	__u32 any;     // ANY_IPV4, ANY_IPV6: wildcard address
	__u16 port;
	__u16 workers_port; // where workers listen, inline; 0 in a proxy
	__u8 answer;
	__u8 unverified;
	__u8 format;
	__u8 flags;
	__u32 pass; // classes let through
	// Its part of the table of harvested cookies.
	__u32 first_entry;
	__u32 entries;
	__u32 admission;
	// Rates: the cost of a token and the size of a bucket, in ns (generic cell rate algorithm). A cost of 0: no limit.
	__u64 source_cost, source_burst;         // verified ClientHellos per prefix
	__u64 service_cost, service_burst;       // verified ClientHellos, all
	__u64 unverified_cost, unverified_burst; // packets of unknown flows
	__u64 engage_cost, engage_burst;         // ClientHellos from unproved addresses, all
	__u64 share_cost, share_burst;           // ... per network
	__u32 interfaces[SERVICE_INTERFACES];    // indexes, if SERVICE_ONLY_ON is set
};

// A proved address: package addresses' entry.
struct address {
	__u64 key;
	__u64 state; // upper 32 bits: when it was last seen, in seconds; lower: a mark. 0: no address
};

struct address_bucket {
	struct address ways[ADDRESS_WAYS];
};

struct prefix_key {
	__u32 length; // of 128 bits
	__u32 addr[4];
};

// What a port is used for: index of the service plus 1, SHARED_PORT, or 0 for nothing.
struct port_use {
	__u32 service;
	__u32 workers_of; // index of the service whose workers listen here, plus 1; 0: none
};

struct service_key {
	__u32 addr[4]; // all-zero low bytes: wildcard of its family
	__u32 port;    // 0: marks an address that has a service
};

struct flow_key {
	__u32 peer[4];
	__u32 port; // of the peer
	__u32 service; // its id
};

struct flow {
	__u64 seen; // CLOCK_MONOTONIC, ns, within SEEN_GRAIN
	__u32 established; // by the server's own records, not by a cookie
	__u32 kept;        // when its address was last refreshed as proved, in seconds; 0: never
};

// A peer that has presented a valid cookie and not finished its handshake.
struct half_open_flow {
	__u64 seen; // as of struct flow
	__u64 born; // CLOCK_MONOTONIC, ns, of its first ClientHello
	__u64 taken;        // what its token of the source's bucket cost, ns; 0: it took none
	__u64 taken_of_all; // ... of the bucket of all
	__u64 refused;      // 1: the server has ended the handshake with an alert
};

// A fragmented datagram whose first IP fragment passed.
struct fragmented {
	__u64 since; // CLOCK_MONOTONIC, ns
	__u64 left;  // bytes of later fragments that may still pass
};

struct fragment_key {
	__u32 saddr[4];
	__u32 daddr[4];
	__u32 id;
};

// A SHA-256 chaining value and a message block, words in machine order.
struct sha256 {
	__u32 h[8];
	__u32 w[16];
};

// The message of a SipHash, read as little-endian words, and its tag.
struct siphash {
	__u64 m[SIPHASH_WORDS];
	__u64 tag[2];
};

// One port of a proxy's pool towards a server, and the server's cookie for it: package handoff's pool entry. The daemon and
// its workers write while the programs read. A cookie read during replacement can be a mixture of both; it fails, which
// costs its client one more exchange.
struct pool_entry {
	__u32 cookie[COOKIE_SIZE / 4]; // bytes as in a packet, padded with zeroes
	__u32 length;                  // bytes; 0: not known
	__u32 taken;                   // 1: a flow uses the port
	__u64 reserved;                // upper 32 bits: since when, by control.clock; lower: for whom
	__u32 rest[4];                 // the rest of a longer cookie, which only workers offer
};

// One secret: the key of SipHash, and SHA-256 states after the two key pads of RFC 2104.
struct key {
	__u32 epoch; // key ID, byte 0 of its cookies
	__u32 valid;
	__u64 sip[2];
	__u32 inner[8];
	__u32 outer[8];
};

struct keyring {
	struct key current;
	struct key previous;
};

// sender_table has the source addresses of frames, at the index of their hash; a link has fewer than 64 routers.
#define SENDER_BITS 6
struct sender_table {
	__u64 mac[1 << SENDER_BITS]; // in the first six bytes; 0: none
};

// What the daemon sets for all services: one element, mapped into the daemon's memory.
struct control {
	__u64 heartbeat;       // CLOCK_MONOTONIC, ns, of the daemon's last heartbeat
	__u64 heartbeat_limit; // ns without a heartbeat after which the daemon is lost; 0: never
	__u64 secret_until;    // CLOCK_MONOTONIC, ns: no answer from the kernel after it; 0: no end
	__u64 grace_until;     // CLOCK_MONOTONIC, ns: until then the previous secret selects harvested cookies; 0: no end
	__u64 idle;            // ns after which an idle flow expires; 0: never
	__u64 handshake;       // ... a half-open one
	__u32 keyring;         // index of the one in force
	__u32 has_secret;
	__u32 pass_when_lost;
	__u32 workers; // number of them
	__u64 answer_cost, answer_burst; // per CPU, as in a service
	__u64 half_open_cost;     // of a source's token, ns; 0: no limit
	__u64 half_open_all_cost; // of one of all
	__u64 half_open_burst;
	__u32 clock; // seconds, of reservations of harvested cookies
	__u32 prefixes; // number of them
	__u64 address_key[2]; // secret, so that nobody can choose a bucket
	__u32 address_lifetime; // seconds
	__u32 capturing; // 1: see struct capture_filter
	__u32 removals; // how often the daemon has removed established flows
};

// What a capture samples; the daemon writes it before control.capturing.
struct capture_filter {
	__u64 verdicts; // a bit for each that is wanted
	__u64 cost, burst, bucket; // of a sample, as in a service
	__u64 lost; // samples for which the ring had no room
	__u32 reasons; // a bit for each that VERDICT_DROP_MALFORMED may have
	__u32 service; // index plus 1; 0: all
};

// A packet as it came in.
struct packet_sample {
	__u64 time;    // CLOCK_MONOTONIC, ns
	__u32 length;  // of the frame, of which bytes has at most SNAP
	__u32 service; // index
	__u32 l4;      // offset of the UDP header; 0: none was found
	__u8 verdict, reason;
	__u8 pad[2];
	__u32 saddr[4];
	__u8 bytes[SNAP];
};

// Credit of one worker: granted - spent packets may still be steered to it. Each side writes its own cache line.
struct credit {
	__u64 granted; // by the worker
	__u64 before_spent[7];
	__u64 spent; // by XDP
	__u64 after_spent[7];
};

struct service_state {
	__u64 service_bucket;
	__u64 junk_bucket;      // unverified packets that are not protected records
	__u64 protected_bucket; // those that are
	__u64 engage_bucket;
	__u64 engaged_until; // CLOCK_MONOTONIC, ns: unproved addresses are challenged until then
	__u64 handshakes[HANDSHAKE_BUCKETS]; // inline, how many took how long
};

// Packets and their bytes of UDP payload, as their headers say, in one cache line.
struct tally {
	__u64 packets;
	__u64 bytes;
};

struct counters {
	struct tally verdict[VERDICT_LEN];
	struct tally egress[EGRESS_LEN];
	__u64 answer_bytes; // of UDP payload that the kernel sent
	__u64 reason[REASON_LEN];
	__u64 cookie[COOKIE_LEN];
	__u64 socket[SOCKET_LEN];
	__u64 ingress[INGRESS_LEN];
};

// A packet as the programs parse it. To a global function the verifier gives it as memory of unknown contents, so each
// bounds the offsets that it uses.
struct packet {
	__u32 saddr[4];
	__u32 daddr[4];
	__u16 sport, dport; // numbers
	__u32 l3, l4;       // offsets of the IP and UDP headers
	__u32 len;          // bytes of UDP payload that the headers claim
	__u32 id;           // of the IP datagram, if it is a fragment
	__s32 cpu;          // CPU on which the stack must process it; -1: this one
	__u32 cookie_at;    // offset in the datagram, of a ClientHello's cookie
	__u64 taken, taken_of_all; // as of struct half_open_flow
	__u16 stop;         // offset in the datagram where a ClientHello's first fragment ends
	__u16 version;      // client_version of a ClientHello
	__u16 answer;       // bytes of UDP payload of the answer that took the packet's place; 0: none
	__u8 cookie_len;
	__u8 first; // byte of the datagram
	__u8 v6;
	__u8 bad;      // IPv6 with an address that maps an IPv4 one, IPv4 with a wrong checksum, a jumbogram
	__u8 group;    // from or to a multicast or broadcast MAC address
	__u8 fragment; // a first fragment: its payload ends early
	__u8 whole;    // a ClientHello in one fragment
	__u8 retry;    // ... of DTLS 1.3, to be answered with a HelloRetryRequest
	__u8 computed; // struct work has the cookie under the current key
	__u8 routed;       // its route may lead to another address than daddr
	__u8 encapsulated; // in a tunnel that another interface terminates
	__u8 fragment_header; // it has an IPv6 fragment header
	__u8 sampled;         // a capture has a copy of it
	__u8 reason;          // enum reason, of a datagram to a service
	__u8 inner;           // IP version of the header that PARSED_INNER reports
} __attribute__((aligned(8))); // so that it is cleared by 8 bytes at a time

// An established flow that was seen within the last SEEN_GRAIN.
struct recent_flow {
	__u64 peer[2]; // as in struct flow_key
	__u32 port, service;
	__u32 until;    // when its time stamp is to be written again, CLOCK_MONOTONIC in RECENT_UNIT
	__u32 removals; // control.removals when it was in the table
};

// What a ClientHello offers.
struct hello_offer {
	__u32 at;        // offset in the datagram of the next extension
	__u32 versions_at, versions_len; // ... of extension supported_versions, 0 if there is none
	__u32 cookie_at, cookie_len;
	__u16 suite; // the first of TLS 1.3, 0 if there is none
	__u8 null;   // the null compression method is the only one
	__u8 dtls13;
};

// Scratch memory of a packet, one per CPU: the stack has 512 bytes for all functions, and the verifier does not track the
// contents of a map through each path.
struct work {
	struct packet packet;
	struct sha256 hash;
	struct siphash sip;
	__u32 presented[COOKIE_SIZE / 4]; // cookie of the ClientHello, bytes as in the packet, padded with zeroes
	__u32 candidate;  // entry of a harvested cookie
	__u32 candidates; // how many entries were considered
	struct hello_offer offer;
	struct half_open_flow half_open; // to be remembered
	__u8 bytes[8] __attribute__((aligned(8))); // read from the packet
	__u16 list[LIST / 2]; // ... versions or cipher suites
	__u64 tick, now;              // the last tick seen, and CLOCK_MONOTONIC then, ns
	struct recent_flow recent[1 << RECENT_BITS] __attribute__((aligned(32)));
};
