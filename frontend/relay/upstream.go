package relay

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Upstream is a connected socket towards a server: its address is the client's, as the server sees it.
type Upstream struct {
	*udpbatch.Conn
	taken *atomic.Uint32 // 1: in use; nil: the socket belongs to its one flow
	once  bool           // the socket belongs to its one flow, although taken is set
}

// OpenUpstream opens a port to server. With a word of a pool's memory in taken, which must be 0, it outlives its flows:
// Acquire sets the word, Release frees the port for the next one. Without, Release closes it.
func OpenUpstream(server netip.AddrPort, taken *atomic.Uint32) (*Upstream, error) {
	return OpenUpstreamFrom(netip.AddrPort{}, server, taken)
}

// OpenUpstreamFrom opens a port whose source is local; for the zero local the kernel chooses.
func OpenUpstreamFrom(local, server netip.AddrPort, taken *atomic.Uint32) (*Upstream, error) {
	c, err := udpbatch.DialFrom(local, server)
	if err != nil {
		return nil, err
	}
	return &Upstream{Conn: c, taken: taken}, nil
}

// NewUpstream makes an Upstream of a pool entry's socket that belongs to its one flow: Release closes it, and then clears
// the entry's word.
func NewUpstream(c *udpbatch.Conn, taken *atomic.Uint32) *Upstream {
	return &Upstream{Conn: c, taken: taken, once: true}
}

// KeepUpstream makes one of a socket that outlives its flows.
func KeepUpstream(c *udpbatch.Conn, taken *atomic.Uint32) *Upstream {
	return &Upstream{Conn: c, taken: taken}
}

// PortTaken reports whether err, of opening a socket with a local address, means that another socket has it.
func PortTaken(err error) bool {
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// Acquire takes a port of a pool, if it is free.
func (p *Upstream) Acquire() bool { return p.taken.Load() == 0 && p.taken.CompareAndSwap(0, 1) }

// Free reports whether the port of a pool is free.
func (p *Upstream) Free() bool { return p.taken.Load() == 0 }

// Fresh reports whether no earlier flow has used the socket.
func (p *Upstream) Fresh() bool { return p.taken == nil || p.once }

// Release returns the port.
func (p *Upstream) Release() {
	if p.taken == nil || p.once {
		p.Close()
	}
	if p.taken != nil {
		p.taken.Store(0)
	}
}
