// Package sockets sends a mix of datagrams from many sources with sendmmsg, and takes back what is answered.
//
// A flow without an interface is sent from plain UDP sockets and needs no privileges: to 127.0.0.0/8, where every
// address is this host's, each datagram gets a source address of its own by an IP_PKTINFO control message; to ::1
// there are many ports instead. A flow with an interface is sent in whole frames from a packet socket, so from any
// source, and needs CAP_NET_RAW. It is a packet socket and no raw IP socket with IP_HDRINCL because that works the
// same for IPv4 and IPv6, goes where it is told whatever the routes say, and sends what the other generators send,
// byte for byte.
//
// A [Flood] is opened by [New], runs once, in [Flood.Run], on the calling goroutine (it takes a CPU if the pace does
// not hold it back), and is closed by [Flood.Close] after that. Counts may be called at any time from anywhere.
//
// Whether an answer is right is known without a table of questions: all that varies in a question follows from its
// source (package traffic).
package sockets
