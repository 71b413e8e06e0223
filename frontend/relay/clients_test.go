package relay

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// clients opens flows of clients without sockets.
type clients struct {
	t     *testing.T
	room  *Quota
	table *Table
	next  uint32
}

func newClients(t *testing.T, l Limits) *clients {
	room := new(Quota)
	room.SetMax(l.Flows)
	return &clients{t: t, room: room, table: NewTable(NewBudget(l), room, usual)}
}

// stranger is an address that no other client has, in a prefix of its own.
func (c *clients) stranger() netip.AddrPort {
	c.next++
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(c.next >> 8), byte(c.next), 1}), 1)
}

// try opens a flow, or returns why it cannot.
func (c *clients) try(from netip.AddrPort, now int64) (*Flow, Reason) {
	c.t.Helper()
	route := udpbatch.NewRoute(from)
	ip := route.Peer().IP
	rank, r := c.table.Reserve(&ip)
	if r != Accepted {
		return nil, r
	}
	h := hello.ClientHello{Random: &[32]byte{1}, Cookie: []byte("cookie")}
	return c.table.Open(&route, &Upstream{taken: new(atomic.Uint32)}, &h, rank, now), r
}

func (c *clients) openFrom(from netip.AddrPort, now int64) *Flow {
	c.t.Helper()
	f, r := c.try(from, now)
	if f == nil {
		c.t.Fatalf("no flow: %v", r)
	}
	return f
}

func (c *clients) open(now int64) *Flow {
	c.t.Helper()
	return c.openFrom(c.stranger(), now)
}

// establish finishes the handshake of f.
func (c *clients) establish(f *Flow, now int64) *Flow {
	c.t.Helper()
	c.table.FromServer(f, flight, now)
	c.table.FromClient(f, join(keyExchange, change, sealed), now)
	c.table.FromServer(f, join(change, sealed), now)
	if f.State != Established {
		c.t.Fatalf("a flow is %v after its handshake", f.State)
	}
	return f
}

// swept returns the flows that end at a time, and why.
func (c *clients) swept(now int64) map[*Flow]Expiry {
	m := make(map[*Flow]Expiry)
	c.table.Sweep(now, func(f *Flow, e Expiry) {
		m[f] = e
		c.table.Close(f)
	})
	return m
}
