// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "consts.h"

volatile const __u32 link_header = 1; // 0: frames of the interface begin with IP

// Addresses are 16 bytes in network order, IPv4 as v4-mapped (::ffff:a.b.c.d). Ports in maps are numbers in the
// machine's order unless a comment says otherwise.

struct service {
	__u32 id;      // given once, never again: flows of a deleted service can not match a new one
	__u32 addr[4]; // not looked at for a family in any
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
	// Rates as a token costs and a full bucket holds, in ns (generic cell rate algorithm). A cost of 0: no limit.
	__u64 source_cost, source_burst;         // verified ClientHellos per prefix
	__u64 service_cost, service_burst;       // verified ClientHellos, all
	__u64 unverified_cost, unverified_burst; // packets of unknown flows
	__u64 engage_cost, engage_burst;         // ClientHellos that nothing proves, all
	__u64 share_cost, share_burst;           // ... of one network
};

// An address that has proved itself: package addresses' entry.
struct address {
	__u64 key;
	__u64 state; // when it was last seen, in seconds, above 32 bits of a mark; 0: none
};

struct address_bucket {
	struct address ways[ADDRESS_WAYS];
};

struct prefix_key {
	__u32 length; // of 128 bits
	__u32 addr[4];
};

// What a port is used for: number of the service in the services map plus 1, SHARED_PORT, or 0 for nothing.
struct port_use {
	__u32 service;
	__u32 workers_of; // the service whose workers listen here, plus 1; 0 for none
};

struct service_key {
	__u32 addr[4]; // all-zero low bytes: wildcard of its family
	__u32 port;    // 0: the address has some service
};

struct flow_key {
	__u32 peer[4];
	__u32 port; // of the peer
	__u32 service; // its id
};

struct flow {
	__u64 seen; // CLOCK_MONOTONIC, ns, SEEN_GRAIN coarse
	__u32 established; // by the server's own records, not by a cookie
	__u32 kept;        // when its address was last noted as one that has proved itself, in seconds; 0: never
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

// A SHA-256 chaining value and a message block, words as numbers.
struct sha256 {
	__u32 h[8];
	__u32 w[16];
};

// The message of a SipHash, in words as numbers (little-endian), and its tag.
struct siphash {
	__u64 m[SIPHASH_WORDS];
	__u64 tag[2];
};

// One port of a proxy's pool towards a server, and the server's cookie for it: package handoff's Slot, written by
// the daemon and its workers while the programs read. A cookie that is read while it is replaced can be a mixture;
// it is not a cookie of the server's, and costs its client one more exchange.
struct pool_entry {
	__u32 cookie[COOKIE_SIZE / 4]; // as it lies in a packet, zeroes behind its end
	__u32 length;                  // bytes; 0: not known
	__u32 taken;                   // 1: a flow has the port
	__u64 reserved;                // since when, by control.clock, and below 32 bits for whom
	__u32 rest[4];                 // of a longer cookie, which only workers give
};

// One secret: the key of SipHash, and SHA-256 states after the two key pads of RFC 2104.
struct key {
	__u32 epoch; // byte 0 of its cookies
	__u32 valid;
	__u64 sip[2];
	__u32 inner[8];
	__u32 outer[8];
};

struct keyring {
	struct key current;
	struct key previous;
};

// sender_table has the source addresses of frames, each in the element that its hash says: 64 are more routers than a link has.
#define SENDER_BITS 6
struct sender_table {
	__u64 mac[1 << SENDER_BITS]; // in the first six bytes; 0: none
};

// What the daemon tells all services, one element, mapped into its memory.
struct control {
	__u64 heartbeat;       // CLOCK_MONOTONIC, ns, of the daemon's last sign of life
	__u64 heartbeat_limit; // ns of silence after which the daemon is lost; 0: never
	__u64 secret_until;    // CLOCK_MONOTONIC, ns: no answer from the kernel after it; 0: no end
	__u64 grace_until;     // CLOCK_MONOTONIC, ns: until then the previous secret finds harvested cookies; 0: no end
	__u64 idle;            // ns after which a silent flow is unknown again; 0: never
	__u64 handshake;       // the same of a half-open one
	__u32 keyring;         // index of the one in force
	__u32 has_secret;
	__u32 pass_when_lost;
	__u32 workers; // how many there are
	__u64 answer_cost, answer_burst; // of one CPU, as in a service
	__u32 clock; // seconds, of reservations of harvested cookies
	__u32 prefixes; // how many there are
	__u64 address_key[2]; // secret: nobody can choose whose bucket he shares
	__u32 address_lifetime; // seconds
	__u32 pad;
};

// Credit of one worker: what it may still be given is granted - spent. Each side writes its own cache line.
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
	__u64 engaged_until; // CLOCK_MONOTONIC, ns: until then who has not proved the address is challenged
};

struct counters {
	__u64 verdict[VERDICT_LEN];
	__u64 reason[REASON_LEN];
	__u64 cookie[COOKIE_LEN];
	__u64 egress[EGRESS_LEN];
	__u64 socket[SOCKET_LEN];
};

// A packet on its way through the programs. Functions that the verifier checks by themselves get it as memory
// of unknown contents, so each bounds the offsets that it uses.
struct packet {
	__u32 saddr[4];
	__u32 daddr[4];
	__u16 sport, dport; // numbers
	__u32 l3, l4;       // offsets of the IP and UDP headers
	__u32 len;          // bytes of UDP payload that the headers claim
	__u32 id;           // of the IP datagram, if it is a fragment
	__s32 cpu;          // where the stack must see it; -1: here
	__u32 cookie_at;    // offset in the datagram, of a ClientHello's cookie
	__u16 stop;         // offset in the datagram where a ClientHello's first fragment ends
	__u16 version;      // client_version of a ClientHello
	__u8 cookie_len;
	__u8 first; // byte of the datagram
	__u8 v6;
	__u8 bad;      // IPv6 with an address that maps an IPv4 one, IPv4 with a wrong checksum, a jumbogram
	__u8 group;    // from or to a multicast or broadcast MAC address
	__u8 fragment; // a first fragment: its payload ends early
	__u8 whole;    // a ClientHello in one fragment
	__u8 retry;    // ... of DTLS 1.3: it is answered with a HelloRetryRequest
	__u8 computed; // struct work has the cookie under the current key
	__u8 routed;       // its route may lead to another address than daddr
	__u8 encapsulated; // in something that an interface of its own takes off
	__u8 fragment_header; // it has an IPv6 fragment header
	__u8 inner;           // IP version of what PARSED_INNER has found
};

// What a ClientHello offers.
struct hello_offer {
	__u32 at;        // offset in the datagram, of what is to be read next
	__u32 versions_at, versions_len; // ... and of extensions, 0 if they were not seen
	__u32 cookie_at, cookie_len;
	__u16 suite; // its first of TLS 1.3, 0 if there is none
	__u8 null;   // compression
	__u8 dtls13;
};

// What a packet is worked on with, one of a CPU: the stack has 512 bytes for all functions, and what is not on it the
// verifier need not follow through each way that fills it.
struct work {
	struct packet packet;
	struct sha256 hash;
	struct siphash sip;
	__u32 presented[COOKIE_SIZE / 4]; // cookie of the ClientHello, bytes as in the packet, padded with zeroes
	__u32 candidate;  // entry of a harvested cookie
	__u32 candidates; // how many entries were considered
	struct hello_offer offer;
	__u8 bytes[8]; // read from the packet
	__u16 list[LIST / 2]; // ... versions or suites
	__u64 tick, now;              // the last tick seen, and CLOCK_MONOTONIC then, ns
};
