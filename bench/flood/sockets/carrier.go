package sockets

import "net/netip"

// carrier sends datagrams from its sources and receives what comes back to them. Only wait blocks.
type carrier interface {
	// source maps a random number to one of the sources.
	source(random uint64) netip.AddrPort
	// add queues a copy of a datagram from one of the sources, at most as many between two flushes as the carrier was
	// made for.
	add(source netip.AddrPort, datagram []byte)
	// flush sends the queue and returns how many datagrams the kernel accepted.
	flush() int
	// receive calls each with every datagram from the target to the sources, until there is none.
	receive(each func(source netip.AddrPort, datagram []byte))
	// wait returns when there is something to receive, or after a time in milliseconds.
	wait(most int) error
	close() error
}
