package relay

import (
	"net/netip"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Port is a connected socket towards a server: as the server sees it, a client's address.
type Port struct {
	*udpbatch.Conn
	pooled bool
	taken  atomic.Bool
}

// OpenPort opens a port to server. A pooled port outlives its flows: Release makes it free for the next one.
// One that is not is closed by Release.
func OpenPort(server netip.AddrPort, pooled bool) (*Port, error) {
	c, err := udpbatch.Dial(server)
	if err != nil {
		return nil, err
	}
	return &Port{Conn: c, pooled: pooled}, nil
}

// Acquire takes the port, if nobody has it.
func (p *Port) Acquire() bool { return !p.taken.Load() && p.taken.CompareAndSwap(false, true) }

// Free reports whether nobody has the port.
func (p *Port) Free() bool { return !p.taken.Load() }

// Release gives the port back.
func (p *Port) Release() {
	if !p.pooled {
		p.Close()
		return
	}
	p.taken.Store(false)
}
