// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
// Copyright The dtlsguard Authors
#pragma once

#include "headers/bounds.h"

enum {
	ETH_P_IP = 0x0800,
	ETH_P_IPV6 = 0x86dd,
	ETH_P_8021Q = 0x8100,
	ETH_P_8021AD = 0x88a8,
	ETH_P_MPLS_UC = 0x8847,
	ETH_P_MPLS_MC = 0x8848,
	ETH_P_PPP_SES = 0x8864,

	IPPROTO_HOPOPTS = 0,
	IPPROTO_IPIP = 4,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_IPV6 = 41,
	IPPROTO_ROUTING = 43,
	IPPROTO_FRAGMENT = 44,
	IPPROTO_ICMPV6 = 58,
	IPPROTO_DSTOPTS = 60,

	IP_MF = 0x2000,
	IP_OFFSET = 0x1fff,
	IP6_MF = 0x0001,
	IP6_OFFSET = 0xfff8,

	MAX_VLANS = 4, // Linux takes off as many as there are with VLAN ID 0; networks use two. Frames with more are dropped
	MAX_LABELS = 8, // MPLS; a label stack is as deep as tunnels are nested
	MAX_NESTED = 2, // IP headers that are looked behind for another
	// RFC 8200 section 4.1 lists four kinds before UDP, one of which may stand twice; a fragment header
	// splits the list, so twice that is more than any sender has a use for.
	MAX_EXTENSIONS = 8,
};

// Positions in a datagram that starts with a handshake record (RFC 6347 sections 4.1 and 4.2.2).
enum {
	RECORD_HEADER = 13,
	HANDSHAKE_HEADER = 12,
	BODY_AT = RECORD_HEADER + HANDSHAKE_HEADER,
	RANDOM_AT = BODY_AT + 2,
	SESSION_ID_AT = RANDOM_AT + 32,
	MAX_SESSION_ID = 32,
	MAX_MESSAGE = 1 << 14,
	LEAST_REST = 2 + 2 + 1 + 1,   // one cipher suite, one compression method, a length each
	COOKIE_SIZE = 32,                             // of format v1, and the longest that all clients take
	COOKIE_SIZE_V2 = 16,
	HELLO_VERIFY_HEAD = BODY_AT + 2 + 1,          // of a HelloVerifyRequest, before its cookie
	HELLO_VERIFY = HELLO_VERIFY_HEAD + COOKIE_SIZE, // the longest

	TYPE_ALERT = 21,
	TYPE_HANDSHAKE = 22,
	TYPE_CID = 25,
	MSG_CLIENT_HELLO = 1,
	MSG_SERVER_HELLO = 2,
	MSG_HELLO_VERIFY = 3,
	DTLS_FIRST = 20, // RFC 7983
	DTLS_LAST = 63,
	DTLS13_FIRST = 32, // RFC 9147 section 4: unified header
	DTLS13_EPOCH = 3,     // its low bits of the epoch
	DTLS13_HANDSHAKE = 2, // of the epoch of handshake messages
	VERSION_DTLS10 = 0xfeff,
	VERSION_MAJOR = 0xfe,
	VERSION_ANYCONNECT = 0x0100, // of a draft of DTLS, as Cisco AnyConnect and OpenConnect speak it
	VERSION_DTLS12 = 0xfefd,
	VERSION_DTLS13 = 0xfefc,

	ALERT_FATAL = 2,
	ALERT_INTERNAL_ERROR = 80,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_COOKIE = 44,
	// How much of a ClientHello is looked at for DTLS 1.3: package hello's numbers.
	LIST = 16, // bytes of versions and of suites
	MAX_EXTENSIONS_13 = 32,
	RETRY_HEAD = 77, // bytes of the guard's own HelloRetryRequest before its cookie
	RESET = 15,  // and of its alert
};

enum {
	FRESH_TTL = 64, // RFC 1700; Linux's own default

	MAX_CPUS = 1024, // width of the CPU tables; Debian's kernels are built for up to 8192, machines have fewer
	MAX_WORKERS = 256,
	BUCKETS = 1 << 16, // 512 KiB of token buckets
	PREFIX_PART = 8,   // a prefix's part of the rate for unverified protected records: one in so many
	// Later IP fragments that come before their first, as reordering brings them: ns for each, and how many at once. The
	// stack keeps them for 30 s, some 3 MB of the 4 MB that it has for fragments (net.ipv4.ipfrag_high_thresh).
	EARLY_FRAGMENT_COST = 20 * 1000 * 1000,
	EARLY_FRAGMENT_BURST = 64,
	MAX_DATAGRAM = 0xffff, // of IP (RFC 791, RFC 8200)
	// Offsets of headers stay below this. It is more than all headers that are accepted can have, 8 extension
	// headers of the longest kind aside, and what a driver puts into the first buffer is less.
	MAX_OFFSET = 0x7ff,

	CAS_TRIES = 4,     // a bucket that four CPUs refill at once is a busy one: the packet is over the rate
	// Addresses that have proved themselves: package addresses' numbers.
	ADDRESS_BITS = 13, // buckets, as a power of 2
	ADDRESS_WAYS = 8,
	ADDRESS_GRAIN = 60, // s; a flow's address is kept once in these, not with each packet
	MAX_PREFIXES = 1 << 16,
	MAX_TRUSTED_PORTS = 64,
	// ns; Linux waits for the rest of a datagram for 30 s over IPv4 and for 60 s over IPv6 (RFC 8200 section 4.5).
	TRAIL_AGE_SECONDS = 60,
	SEEN_GRAIN = 1000 * 1000 * 1000, // ns; a flow's time stamp is written once a second, not once a packet
};

// What a datagram is: the numbers of hello.Reason.
enum reason {
	REASON_OK,
	REASON_ENCRYPTED,
	REASON_NOT_HELLO,
	REASON_LATER_FRAGMENT,
	REASON_NOT_DTLS,
	REASON_TRUNCATED, // the first that no flow can excuse
	REASON_BAD_VERSION,
	REASON_ZERO_FRAGMENT,
	REASON_BAD_LENGTH,
	REASON_BAD_SESSION_ID,
	REASON_BAD_COOKIE,
	REASON_BAD_BODY,
	REASON_LEN,
};

// What became of a packet at ingress. Every packet is counted under exactly one.
enum verdict {
	VERDICT_PASS_UNPROTECTED, // to no service of ours
	VERDICT_PASS_FLOW,        // of a verified or established flow
	VERDICT_PASS_VERIFIED,    // a ClientHello with a valid cookie
	VERDICT_PASS_ADDRESS,     // a ClientHello without a cookie, from an address that is known
	VERDICT_PASS_UNPROVED,    // a ClientHello that nothing proves, within the rate
	VERDICT_PASS_CLASS,       // not DTLS, of a class that the service lets through
	VERDICT_PASS_UNVERIFIED,  // of an unknown flow, let through by policy
	VERDICT_PASS_LIMITED,     // the same, within the rate
	VERDICT_PASS_FRAGMENT,    // later IP fragment behind a first one that passed, or a few that came before it
	VERDICT_PASS_DAEMON_LOST, // nobody to answer it, let through by policy
	VERDICT_PASS_ERROR,       // a helper failed before anything was written
	VERDICT_ANSWERED,         // HelloVerifyRequest sent from here
	VERDICT_RESET,            // the same with an alert: its sender has proved the address, and begins again
	VERDICT_STEERED,          // ClientHello given to a worker
	VERDICT_DROP_MALFORMED,   // by its reason
	VERDICT_DROP_UNVERIFIED,  // of an unknown flow
	VERDICT_DROP_LIMITED,     // the same, above the rate
	VERDICT_DROP_SOURCE_RATE, // valid cookie, too many from this prefix
	VERDICT_DROP_SERVICE_RATE, // valid cookie, too many for the service
	VERDICT_DROP_DENIED,      // its sender is on the deny list
	VERDICT_DROP_HELLO_LIMIT, // a ClientHello that nothing proves, above the rate
	VERDICT_DROP_NO_RETRY,    // of DTLS 1.3, and nothing to be answered with
	VERDICT_DROP_BAD_RETRY,   // of DTLS 1.3, with a wrong cookie
	VERDICT_DROP_RESET_BEFORE, // had its alert already
	VERDICT_DROP_NO_CREDIT,   // more than its worker can take
	VERDICT_DROP_ANSWER_OFF,  // the service answers no ClientHello
	VERDICT_DROP_NO_COOKIE,   // no harvested one is free for it
	VERDICT_DROP_ANSWER_RATE, // more answers than the uplink is given
	VERDICT_DROP_BAD_SOURCE,  // nobody could be answered there
	VERDICT_DROP_BAD_IP,      // IP and UDP lengths contradict each other, IPv4 addresses in IPv6
	VERDICT_DROP_FRAGMENT,    // IP fragment that nothing vouches for
	VERDICT_DROP_FRAGMENTED_HELLO, // ClientHello in IP fragments, that only a worker could answer, inline
	VERDICT_DROP_EXTENSIONS,  // options or extension headers that the guard cannot follow to UDP
	VERDICT_DROP_ENCAPSULATED, // to a service, inside of PPPoE, MPLS or another IP header
	VERDICT_DROP_UNSEEN,      // IP behind more tags, labels or IP headers than are looked behind
	VERDICT_DROP_WORKERS_PORT, // sent to the workers' own port, past the service's
	VERDICT_DROP_DAEMON_LOST, // nobody to answer it
	VERDICT_DROP_NONLINEAR,   // headers not in the first buffer
	VERDICT_ABORTED,          // a helper failed after the first write
	VERDICT_LEN,
};

// What the cookie of a ClientHello was. Every ClientHello is counted under exactly one.
enum cookie_state {
	COOKIE_NONE,
	COOKIE_VALID,
	COOKIE_WRONG,
	COOKIE_EXPIRED, // made under no secret in force
	COOKIE_FOREIGN, // of a length that none of the service has, or for a worker to judge
	COOKIE_LEN,
};

// What became of a packet of a service at egress.
enum egress {
	EGRESS_PLAIN,       // epoch 0: teaches nothing
	EGRESS_LEARNED,     // first protected record to this peer
	EGRESS_ESTABLISHED, // further ones
	EGRESS_REWRITTEN,   // sent by a worker, source port made the service's
	EGRESS_TURNED,      // a ClientHello that a worker verified, turned round to go to the server
	EGRESS_ERROR,
	EGRESS_FULL, // first protected record, and no room for the flow
	EGRESS_LEN,
};

// How a worker's socket was found.
enum socket {
	SOCKET_SELECTED,
	SOCKET_DEFAULT, // the kernel's own choice
	SOCKET_LEN,
};

enum answer {
	ANSWER_DROP,
	ANSWER_WORKERS, // as many as they have credit for
	ANSWER_XDP,     // the kernel
	ANSWER_AUTO,    // workers, and the kernel what they have no credit for
	ANSWER_LEN
};
enum unverified {
	UNVERIFIED_DROP,
	UNVERIFIED_PASS,
	UNVERIFIED_LIMIT, // pass up to Service.UnverifiedRate
	UNVERIFIED_LEN
};
enum format {
	FORMAT_V1,      // package cookie's with HMAC-SHA256: the kernel can
	FORMAT_V2,      // package cookie's with SipHash: the kernel can
	FORMAT_QT,      // QDtlsClientVerifier's with SHA-256: the kernel can
	FORMAT_HARVEST, // a server's own, from the table of harvested cookies: the kernel can, in a proxy
	FORMAT_WORKERS, // any other: workers can, so Answer must be AnswerWorkers
	FORMAT_LEN
};

// The first byte of what is hashed of a ClientHello says what the hash is for, so that none can be taken for another
// (package cookie).
enum binding { BINDING_V1 = 0x01, BINDING_V2 = 0x02, BINDING_POOL = 0x03, BINDING_RETRY = 0x04, BINDING_RETRY_V2 = 0x07, BINDING_SIZE = 55 };
enum { SIPHASH_WORDS = (BINDING_SIZE + 1) / 8 };

// How a tag finds its harvested cookie, and for how many seconds it is kept: the numbers of package handoff, which says why.
enum harvest { HARVEST_CHOICES = 4, HARVEST_WALK = 64, HARVEST_RESERVATION = 5 };

// Classes of first bytes that are not DTLS (RFC 7983 section 7, RFC 9443).
enum class {
	CLASS_STUN = 1 << 0, // 0..3
	CLASS_ZRTP = 1 << 1, // 16..19
	CLASS_TURN = 1 << 2, // 64..79
	CLASS_QUIC = 1 << 3, // 80..127, 192..255
	CLASS_RTP = 1 << 4,  // 128..191
	CLASS_CAPWAP = 1 << 5,     // 0 and 1: the preamble of RFC 5415 section 4.1 in front of plain packets and of DTLS
	CLASS_ANYCONNECT = 1 << 6, // 20..25 with version 0x0100
};

enum {
	SERVICE_MONITOR = 1 << 0,
	SERVICE_PROXY = 1 << 1,
	SERVICE_FLOW_HELLOS = 1 << 2, // ClientHellos with a cookie are for workers to judge, once there is a flow
};
// How first ClientHellos are admitted to a service whose clients prove their address by beginning again.
enum {
	ADMISSION_RESET = 1 << 0,
	ADMISSION_LIMIT = 1 << 1,  // nothing is asked of clients
	ADMISSION_LOAD = 1 << 2,   // who has not proved the address is challenged above the rate
	ADMISSION_DTLS12 = 1 << 3, // versions that clients may have
	ADMISSION_DTLS13 = 1 << 4,
};
enum listed { LISTED_NONE, LISTED_ALLOW, LISTED_DENY };
enum offer { OFFER_VERIFY, OFFER_RETRY, OFFER_NONE };
#define SECOND 1000000000ULL
#define ENGAGE_CALM (10 * SECOND) // without too many ClientHellos, and challenges end

enum { ANY_IPV4 = 1 << 0, ANY_IPV6 = 1 << 1 };
enum { SHARED_PORT = 0xffffffff }; // several services on one port
