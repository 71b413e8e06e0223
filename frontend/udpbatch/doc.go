// Package udpbatch moves UDP datagrams many at a time: recvmmsg into a [Batch], sendmmsg from a [Queue], epoll
// over many sockets with a [Poller].
//
// An [Endpoint] has IPv4 as v4-mapped, whichever family its socket is of. A socket is of IPv4 if it is bound or connected to
// an IPv4 address, else of both families. The sockets stay off Go's network poller: a worker is one locked thread that sleeps
// in [Poller.Wait].
//
// A Batch owns its buffers: what Datagram and Route return lives until the next Reset. A Queue borrows what is
// added to it until it is sent. None of the types is for concurrent use, except that Poller.Wake may be called
// from anywhere and that several threads may send on one Conn.
package udpbatch
