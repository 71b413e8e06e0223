// Package xdp is a packet generator in the kernel, and a counter for what comes back. It can saturate a core
// that only answers, which no generator of sockets can: BPF_PROG_RUN makes live frames that an XDP program fills
// in and redirects into an interface, several million per second.
//
// A [Generator] is loaded by [New], sends while [Generator.Run] runs, and is gone after [Generator.Close]. It
// sends from the network namespace of the thread that New ran on; Run keeps to that namespace by itself. A
// [Counter] is attached by [Count] and counts until [Counter.Close].
//
// Every frame is whole and right: lengths, checksums, a source address out of a prefix. All that varies in a
// frame follows from its source address and port, so whether an answer is right shows without a table of
// questions: [Flow.Datagram] gives the question of any answer.
//
// Clients that share the CPU of a generator can have it carry their datagrams ([Options].Carry), so that these are lost as
// its own frames are.
//
// Counts, SetRate and the Counter's methods may be called at any time from anywhere.
package xdp
