// Package sockets sends a mix of datagrams from many sources with sendmmsg, and receives the answers.
//
// A flow without an interface uses plain UDP sockets and needs no privileges. On 127.0.0.0/8, where every address belongs
// to this host, an IP_PKTINFO control message sets the source address per datagram; on ::1 the sources are many ports
// instead. A flow with an interface sends complete frames from a packet socket, so from any source, and needs
// CAP_NET_RAW. A packet socket, unlike a raw IP socket with IP_HDRINCL, works the same for IPv4 and IPv6, ignores routes,
// and sends the same bytes as the other generators.
//
// A [Flood] is opened by [New], runs once, in [Flood.Run], on the calling goroutine (an unlimited pace takes the whole
// CPU), and is closed by [Flood.Close] after that. Any goroutine may call Counts at any time.
//
// Answers are checked without a table of questions: everything that varies in a question follows from its source (package
// traffic).
package sockets
