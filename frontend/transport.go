package frontend

import "github.com/dtlsguard/dtlsguard/frontend/udpbatch"

// transport carries a worker's datagrams from and to its clients, a batch per call and without ever waiting. Workers know
// nothing else of it, so another one (AF_XDP) needs no change in them.
type transport interface {
	// Recv fills the free slots of b and returns how many it filled; 0 with a nil error: nothing is there.
	Recv(b *udpbatch.Batch) (int, error)
	sender
	// Overruns is the number of datagrams that were lost because the worker was too slow; it wraps at 2^32.
	Overruns() uint32
	// Close gives back what it holds.
	Close() error
}

// sender sends a batch without ever waiting.
type sender interface {
	// Send sends all of q and empties it. It returns how many were sent and the last error.
	Send(q *udpbatch.Queue) (int, error)
}

var _ transport = (*udpbatch.Conn)(nil)
