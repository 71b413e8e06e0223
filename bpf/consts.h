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

	MAX_VLANS = 4, // Linux removes any number with VLAN ID 0; networks use two. Frames with more are dropped
	MAX_LABELS = 8, // MPLS; one label per nested tunnel
	MAX_NESTED = 2, // IP headers whose inner IP header is parsed
	// RFC 8200 section 4.1 lists four kinds before UDP, one of which may occur twice; a fragment header splits the
	// list, so twice four is more than any sender needs.
	MAX_EXTENSIONS = 8,
};

enum { SNAP = 512 }; // bytes of a frame that a capture has: most ClientHellos whole; a power of 2

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
	COOKIE_SIZE = 32,                             // of format v1; the longest that all clients accept
	COOKIE_SIZE_V2 = 16,
	HELLO_VERIFY_HEAD = BODY_AT + 2 + 1,          // of a HelloVerifyRequest, before its cookie
	HELLO_VERIFY = HELLO_VERIFY_HEAD + COOKIE_SIZE, // the longest

	TYPE_ALERT = 21,
	TYPE_HANDSHAKE = 22,
	TYPE_DATA = 23,
	ASSIGNED_TYPE = 31, // of a ClientHello on its way to a worker's socket: assigned to nothing, and of DTLS's range (RFC 7983)
	TYPE_CID = 25,
	MSG_CLIENT_HELLO = 1,
	MSG_SERVER_HELLO = 2,
	MSG_HELLO_VERIFY = 3,
	DTLS_FIRST = 20, // RFC 7983
	DTLS_LAST = 63,
	DTLS13_FIRST = 32, // RFC 9147 section 4: unified header
	DTLS13_EPOCH = 3,     // its low bits of the epoch
	DTLS13_HANDSHAKE = 2, // of the epoch of handshake messages
	// Records of a server's datagram that are looked through: ServerHello, its extensions, Certificate, CertificateStatus,
	// ServerKeyExchange, CertificateRequest, ServerHelloDone, NewSessionTicket, ChangeCipherSpec, Finished.
	MAX_RECORDS = 10,
	VERSION_DTLS10 = 0xfeff,
	VERSION_MAJOR = 0xfe,
	VERSION_ANYCONNECT = 0x0100, // pre-standard DTLS of Cisco AnyConnect and OpenConnect
	VERSION_DTLS12 = 0xfefd,
	VERSION_DTLS13 = 0xfefc,

	ALERT_FATAL = 2,
	ALERT_INTERNAL_ERROR = 80,
	EXT_SUPPORTED_VERSIONS = 43,
	EXT_COOKIE = 44,
	// How much of a ClientHello is parsed for DTLS 1.3: package hello's numbers.
	LIST = 16, // bytes of versions and of suites
	MAX_EXTENSIONS_13 = 32,
	RETRY_HEAD = 77, // bytes of the guard's HelloRetryRequest before its cookie
	RESET = 15,  // of the guard's alert
};

enum {
	FRESH_TTL = 64, // RFC 1700; Linux's own default

	MAX_CPUS = 1024, // size of the CPU tables; Debian's kernels support 8192, machines have fewer
	MAX_WORKERS = 256,
	BUCKETS = 1 << 16, // 512 KiB of token buckets
	HALF_OPEN_SOURCES = 0,        // where the buckets of half-open flows begin, those of sources
	HALF_OPEN_PREFIXES = BUCKETS, // ... of prefixes
	HALF_OPEN_ALL = 2 * BUCKETS,  // ... and the one of all
	PREFIX_PART = 8,   // a prefix gets 1/8 of the rate for unverified protected records
	// Half-open flows of inline services, as package relay limits those of a proxy.
	PREFIX_HALF_OPEN = 8, // times the limit of a source is that of a prefix
	HALF_OPEN_ROOM = 8,   // times both while less than half of all are used
	LONGEST_HANDSHAKE = 4, // times control.handshake: a half-open flow lives no longer, whatever its client sends
	// Later IP fragments that arrive before their first, reordered: ns per fragment, and the burst. The stack keeps them
	// for 30 s, which takes 3 MB of its 4 MB for fragments (net.ipv4.ipfrag_high_thresh).
	EARLY_FRAGMENT_COST = 20 * 1000 * 1000,
	EARLY_FRAGMENT_BURST = 64,
	MAX_DATAGRAM = 0xffff, // of IP (RFC 791, RFC 8200)
	// Bound of header offsets. Accepted headers are shorter, except 8 extension headers of the longest kind, and a driver
	// puts less into the first buffer.
	MAX_OFFSET = 0x7ff,
	// What lies further back in a datagram is read by a helper: verifiers want the variable part of an offset below 2^16.
	MAX_IN_PLACE = 0x7fff,

	// A histogram of times: ns per step are 1 << HANDSHAKE_STEP; from 4 steps on there are four buckets per power of two, up to 34 s.
	HANDSHAKE_STEP = 14,
	HANDSHAKE_BUCKETS = 80,
	CAS_TRIES = 4,     // a bucket that four CPUs change at once is busy: the packet is over the rate
	// Proved addresses: package addresses' numbers.
	ADDRESS_BITS = 13, // buckets, as a power of 2
	ADDRESS_WAYS = 8,
	ADDRESS_SITE = 64, // buckets that the addresses of one site share, see bucket_of; a power of 2
	ADDRESS_GRAIN = 60, // s; a flow refreshes its address once per grain, not per packet
	MAX_PREFIXES = 1 << 16,
	MAX_TRUSTED_PORTS = 64,
	// ns; Linux waits for the rest of a datagram for 30 s over IPv4 and for 60 s over IPv6 (RFC 8200 section 4.5).
	FRAGMENT_AGE_SECONDS = 60,
	RECENT_BITS = 9, // recent flows of a CPU, as a power of 2: 16 KiB, which fit a second-level cache
	SEEN_GRAIN = 1000 * 1000 * 1000, // ns; a flow's time stamp is written once per second, not per packet
};

// Classes of datagrams: the numbers of hello.Reason.
enum reason {
	REASON_OK,
	REASON_ENCRYPTED,
	REASON_NOT_HELLO,
	REASON_LATER_FRAGMENT,
	REASON_NOT_DTLS,
	REASON_TRUNCATED, // from here on malformed, even within a flow
	REASON_BAD_VERSION,
	REASON_ZERO_FRAGMENT,
	REASON_BAD_LENGTH,
	REASON_BAD_SESSION_ID,
	REASON_BAD_COOKIE,
	REASON_BAD_BODY,
	REASON_LEN,
};

// Verdicts on packets at ingress. Every packet is counted under exactly one.
enum verdict {
	VERDICT_PASS_UNPROTECTED, // to no protected service
	VERDICT_PASS_FLOW,        // of a verified or established flow
	VERDICT_PASS_VERIFIED,    // a ClientHello with a valid cookie
	VERDICT_PASS_ADDRESS,     // a ClientHello without a cookie, from a proved address
	VERDICT_PASS_UNPROVED,    // a ClientHello from an unproved address, within the rate
	VERDICT_PASS_CLASS,       // not DTLS, of a class that the service lets through
	VERDICT_PASS_UNVERIFIED,  // of an unknown flow, let through by policy
	VERDICT_PASS_LIMITED,     // the same, within the rate
	VERDICT_PASS_FRAGMENT,    // later IP fragment after a first one that passed, or one of the few before it
	VERDICT_PASS_DAEMON_LOST, // the daemon is lost, let through by policy
	VERDICT_PASS_ERROR,       // a helper failed before anything was written
	VERDICT_ANSWERED,         // HelloVerifyRequest or HelloRetryRequest sent by the kernel
	VERDICT_RESET,            // answered with an alert: the sender has proved its address and starts over
	VERDICT_STEERED,          // ClientHello handed to a worker
	VERDICT_DROP_MALFORMED,   // by its reason
	VERDICT_DROP_UNVERIFIED,  // of an unknown flow
	VERDICT_DROP_LIMITED,     // the same, above the rate
	VERDICT_DROP_SOURCE_RATE, // valid cookie, too many from this prefix
	VERDICT_DROP_SERVICE_RATE, // valid cookie, too many for the service
	VERDICT_DROP_HALF_OPEN,   // inline: valid cookie, too many unfinished handshakes of this source or prefix
	VERDICT_DROP_DENIED,      // its sender is on the deny list
	VERDICT_DROP_HELLO_LIMIT, // a ClientHello from an unproved address, above the rate
	VERDICT_DROP_NO_RETRY,    // of DTLS 1.3, without what a HelloRetryRequest needs
	VERDICT_DROP_BAD_RETRY,   // of DTLS 1.3, with a wrong cookie
	VERDICT_DROP_RESET_BEFORE, // the repeated ClientHello of a client that had its alert
	VERDICT_DROP_NO_CREDIT,   // its worker has no credit
	VERDICT_DROP_ANSWER_OFF,  // the service answers no ClientHello
	VERDICT_DROP_NO_COOKIE,   // no harvested cookie is free
	VERDICT_DROP_ANSWER_RATE, // above the rate of answers
	VERDICT_DROP_BAD_SOURCE,  // an answer could not reach the sender, or could be longer
	VERDICT_DROP_BAD_IP,      // IP and UDP lengths contradict each other, IPv4 addresses in IPv6
	VERDICT_DROP_FRAGMENT,    // IP fragment of a datagram that is not known
	VERDICT_DROP_FRAGMENTED_HELLO, // inline: a ClientHello in IP fragments that only a worker could answer
	VERDICT_DROP_EXTENSIONS,  // options or extension headers that are not followed to UDP
	VERDICT_DROP_ENCAPSULATED, // to a service, inside PPPoE, MPLS or another IP header
	VERDICT_DROP_UNSEEN,      // IP after more tags, labels or IP headers than are followed
	VERDICT_DROP_WORKERS_PORT, // sent to the workers' port instead of the service's
	VERDICT_DROP_DAEMON_LOST, // the daemon is lost
	VERDICT_DROP_NONLINEAR,   // headers not in the first buffer
	VERDICT_ABORTED,          // a helper failed after the first write
	VERDICT_LEN,
};

// States of a ClientHello's cookie. Every ClientHello is counted under exactly one.
enum cookie_state {
	COOKIE_NONE,
	COOKIE_VALID,
	COOKIE_WRONG,
	COOKIE_EXPIRED, // of a secret that is not in force
	COOKIE_FOREIGN, // of a length that the service does not use, or for a worker to verify
	COOKIE_LEN,
};

// Outcomes of a service's packets at egress.
enum egress {
	EGRESS_PLAIN,       // epoch 0, no flow learned
	EGRESS_LEARNED,     // first protected record to a peer
	EGRESS_ESTABLISHED, // further ones
	EGRESS_REWRITTEN,   // sent by a worker, source port rewritten to the service's
	EGRESS_REINJECTED,  // a ClientHello that a worker verified, sent to the server by ingress
	EGRESS_ERROR,
	EGRESS_FULL, // first protected record to a peer, with no room for the flow
	EGRESS_REFUSED, // an alert that ends a peer's handshake
	EGRESS_LEN,
};

// How ClientHellos that XDP has diverted go on to the workers of an inline service.
enum ingress {
	INGRESS_ASSIGNED, // with the service's port, to a worker's socket
	INGRESS_PORT,     // to the workers' port: the kernel assigned no socket
	INGRESS_ERROR,    // dropped: a helper failed after the first write
	INGRESS_LEN,
};

// How a worker's socket was chosen.
enum socket {
	SOCKET_SELECTED,
	SOCKET_DEFAULT, // the kernel's own choice
	SOCKET_LEN,
};

enum answer {
	ANSWER_DROP,
	ANSWER_WORKERS, // within their credit
	ANSWER_XDP,     // the kernel
	ANSWER_AUTO,    // workers within their credit, the kernel beyond
	ANSWER_LEN
};
enum unverified {
	UNVERIFIED_DROP,
	UNVERIFIED_PASS,
	UNVERIFIED_LIMIT, // pass up to Service.UnverifiedRate
	UNVERIFIED_LEN
};
enum format {
	FORMAT_V1,      // package cookie's with HMAC-SHA256; the kernel computes it
	FORMAT_V2,      // package cookie's with SipHash; the kernel computes it
	FORMAT_QT,      // QDtlsClientVerifier's with SHA-256; the kernel computes it
	FORMAT_HARVEST, // a server's own; the kernel takes it from the table of harvested cookies, in a proxy
	FORMAT_WORKERS, // any other; only workers have it, so Answer must be AnswerWorkers
	FORMAT_LEN
};

// The first byte of a hashed message says what the hash is for, so that none can stand in for another (package cookie).
enum binding { BINDING_V1 = 0x01, BINDING_V2 = 0x02, BINDING_POOL = 0x03, BINDING_RETRY = 0x04, BINDING_RETRY_V2 = 0x07, BINDING_SIZE = 55 };
enum { SIPHASH_WORDS = (BINDING_SIZE + 1) / 8 };

// How a tag selects its harvested cookie, and the seconds of a reservation: package handoff's numbers, which has the reasons.
enum harvest { HARVEST_CHOICES = 4, HARVEST_WALK = 64, HARVEST_RESERVATION = 5 };

// Classes of first bytes that are not DTLS (RFC 7983 section 7, RFC 9443).
enum class {
	CLASS_STUN = 1 << 0, // 0..3
	CLASS_ZRTP = 1 << 1, // 16..19
	CLASS_TURN = 1 << 2, // 64..79
	CLASS_QUIC = 1 << 3, // 80..127, 192..255
	CLASS_RTP = 1 << 4,  // 128..191
	CLASS_CAPWAP = 1 << 5,     // 0 and 1: the preamble of RFC 5415 section 4.1, before plain packets and before DTLS
	CLASS_ANYCONNECT = 1 << 6, // 20..25 with version 0x0100
};

enum {
	SERVICE_MONITOR = 1 << 0,
	SERVICE_PROXY = 1 << 1,
	SERVICE_FLOW_HELLOS = 1 << 2, // within a flow, workers verify ClientHellos with a cookie
	SERVICE_ONLY_ON = 1 << 3,     // guarded on its own interfaces only
	SERVICE_ASSIGN = 1 << 4,      // inline: ClientHellos are assigned to workers' sockets
	SERVICE_DROPS_JUNK = 1 << 5,  // whatever is not DTLS, on every interface
};
enum { SERVICE_INTERFACES = 8 }; // that a service can name
// How first ClientHellos are admitted to a service in mode reset or limit.
enum {
	ADMISSION_RESET = 1 << 0,
	ADMISSION_LIMIT = 1 << 1,  // no challenge, only a rate
	ADMISSION_LOAD = 1 << 2,   // unproved addresses are challenged above the rate
	ADMISSION_DTLS12 = 1 << 3, // versions that the server speaks
	ADMISSION_DTLS13 = 1 << 4,
};
enum listed { LISTED_NONE, LISTED_ALLOW, LISTED_DENY };
enum offer { OFFER_VERIFY, OFFER_RETRY, OFFER_NONE };
#define SECOND 1000000000ULL
#define GOLDEN 0x9e3779b97f4a7c15ULL // 2^64 over the golden ratio: the upper bits of a product with it are a hash (Fibonacci hashing)
#define ENGAGE_CALM (10 * SECOND) // challenges end after this time within the rate

enum { ANY_IPV4 = 1 << 0, ANY_IPV6 = 1 << 1 };
enum { SHARED_PORT = 0xffffffff }; // several services on one port
