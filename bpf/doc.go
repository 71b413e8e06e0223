// Package bpf is the kernel side of the guard: an XDP program that parses, decides, answers or steers each
// packet to a protected service; one after it that assigns ClientHellos to workers' sockets; a program at egress that learns established flows, rewrites the source port of
// workers' answers and reinjects the ClientHellos that workers verify; and an SK_REUSEPORT program that picks the
// socket of the CPU's worker.
//
// # Life
//
// [Load] creates maps and programs, or takes over the maps that an earlier process pinned in [Options].Pin
// ([Programs.PinsRefused] says why not). Set secrets, workers and services, then call [Programs.Attach]: from then
// on the kernel enforces. With a pin directory, links and maps outlive the process: [Programs.Close] closes only its
// handles, the next Load and Attach replace the programs without a gap, and [Programs.Detach] or [Unload] removes
// everything. Without one, everything ends with the process.
//
// Before a busy server, set the services with [Service].Monitor first: nothing is enforced, and every datagram that
// the server sends to an established client teaches its flow. Then set them again without Monitor.
//
// An Attach that fails leaves nothing attached and nothing pinned.
//
// # Concurrency
//
// Any number of goroutines may call the methods of [Programs]; those that write are serialised inside. A [Credit]
// belongs to one worker. The programs read every map while it is written: data longer than a word is written where
// nothing points yet (a keyring to the idle element, a service before its port), and published by writing one word.
//
// # Verdicts
//
// Every packet is counted once in each stage that it reaches: ingress ([Verdict]), parsing (the reasons of package
// hello), verification ([CookieState]), the way to an inline worker ([IngressOutcome]), egress ([EgressOutcome]) and the
// choice of a socket ([SocketChoice]). The Go enums are generated from the C ones.
//
//   - IP fragments: the first fragment decides, since it has headers, random and cookie; if it passes, later ones
//     of its datagram pass after it. Inline, a ClientHello for a worker must not be fragmented. Later fragments to
//     an address without a service pass unchecked.
//   - IPv6 extension headers: up to eight. A longer chain to a protected address is dropped.
//   - Before the first write to a packet an error lets it pass; after it the packet is aborted.
//   - Cookies are those of [Service].Format: computed, or looked up in a part of a table ([PoolMemory]) that the daemon
//     writes while the programs read it. A cookie read during replacement costs its client one more exchange.
//   - UDP checksums are not verified: local senders leave partial ones. Answers carry full ones.
//   - [Service].Pass and [Service].Unverified alone decide on datagrams that are not DTLS, never the flow table.
package bpf
