// Package xdp is a packet generator in the kernel, with a counter of the answers. It can saturate a core that only
// answers, which no generator of sockets can: BPF_PROG_RUN makes live frames that an XDP program fills and redirects into
// an interface, several million per second.
//
// A [Generator] is loaded by [New], sends while [Generator.Run] runs, and is removed by [Generator.Close]. It sends from
// the network namespace of the thread that called New. A [Counter] is attached by [Count] and counts until
// [Counter.Close].
//
// Every frame is complete and valid: lengths, checksums, a source address within a prefix. Everything that varies follows
// from the source address and port, so answers can be checked without a table of questions: [Flow.Datagram] returns the
// question of any answer.
//
// The generator can carry the datagrams of clients that share its CPU ([Options].Carry), so that they are lost like its
// own frames.
//
// Any goroutine may call Counts, SetRate and the Counter's methods at any time.
package xdp
