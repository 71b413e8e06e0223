package sockets

import "net/netip"

// carrier sends datagrams from sources that it has, and takes back what comes to them. None of its methods waits, but
// wait.
type carrier interface {
	// source makes one of the sources of a random number.
	source(random uint64) netip.AddrPort
	// add queues a copy of a datagram from one of the sources. Between two flushes there may be as many as the carrier
	// was made for.
	add(source netip.AddrPort, datagram []byte)
	// flush sends what is queued and returns how many the kernel took.
	flush() int
	// receive calls each with all that came from the target to the sources, until nothing more is there.
	receive(each func(source netip.AddrPort, datagram []byte))
	// wait returns when there is something to receive, at the latest after a time in milliseconds.
	wait(most int) error
	close() error
}
