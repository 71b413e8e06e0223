// Package bpf is the kernel side of the guard: an XDP program that parses, decides, answers or steers each
// packet to a protected service, a tcx program at egress that learns established flows, gives workers' answers
// the service's port and brings the ClientHellos that they verify to the server, and an SK_REUSEPORT program that
// picks the socket of the CPU's worker.
//
// # Life
//
// [Load] makes maps and programs, or takes over the maps that an earlier process pinned in [Options].Pin.
// Fill in secrets, workers and services, then [Programs.Attach]: from then on the kernel enforces. With a pin
// directory, links and maps outlive the process: [Programs.Close] only lets go of them, the next Load and Attach
// replace the programs without a gap, [Programs.Detach] or, without any process, [Unload] removes all. Without
// one, everything is gone when the process is.
//
// In front of a busy server set the services with [Service].Monitor first: while nothing is enforced, every
// datagram that the server sends to an established client makes its flow known. Then set them again without.
//
// An Attach that fails leaves nothing attached and nothing pinned.
//
// # Concurrency
//
// A Guard's methods may be called by any number of goroutines; those that write are serialised inside. A
// [Credit] belongs to one worker. The programs read every map while it is written: what takes more than one
// word is written where nothing points yet (a keyring into the idle element, a service before its port), and
// then made visible by one word.
//
// # Verdicts
//
// Every packet is counted once in each stage that it comes to: ingress ([Verdict]), the look at its datagram
// (the reasons of package hello), the look at its cookie ([CookieState]), egress ([EgressOutcome]) and the
// choice of a socket. The C names of these numbers and the Go ones are checked against each other.
//
//   - IP fragments: a first fragment is judged by what it holds, since headers, random and cookie are at the
//     front; if it passes, later ones of the same datagram do, if they come after it. A ClientHello that is
//     meant for a worker must be whole. Later fragments to an address without a service are not looked at.
//   - IPv6 extension headers: up to eight. A longer chain to a protected address is dropped.
//   - Before the first write to a packet an error lets it pass; after it the packet is aborted.
//   - Cookies are those of [Service].Format: computed, or looked up in a part of a table ([PoolMemory]) that the daemon
//     writes while the programs read it. A cookie that is read while it is replaced costs its client an exchange.
//   - UDP checksums are not verified: local senders leave them half done. Answers carry full ones.
//   - Datagrams that are not DTLS are decided by [Service].Pass and [Service].Unverified alone, never by the
//     flow table.
package bpf
