package e2e

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// startPath opens a path for the duration of a test.
func startPath(t *testing.T, to netip.AddrPort, decide func(d *netpath.Datagram) netpath.Fate) *netpath.Path {
	t.Helper()
	return startPathFrom(t, netip.Addr{}, to, decide)
}

// startPathFrom is startPath for clients at an address.
func startPathFrom(t *testing.T, from netip.Addr, to netip.AddrPort, decide func(d *netpath.Datagram) netpath.Fate) *netpath.Path {
	t.Helper()
	p, err := netpath.StartFrom(from, to, decide)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// strangers counts the addresses of newAddress.
var strangers atomic.Uint32

// newAddress returns a loopback address that no guard has seen yet.
func newAddress() netip.Addr {
	n := strangers.Add(1)
	return netip.AddrFrom4([4]byte{127, 9, byte(n >> 8), byte(n)})
}

// clientHello reports whether a client's datagram is a ClientHello, or a first fragment of one, and whether it has a cookie.
func clientHello(d *netpath.Datagram) (isHello, cookie bool) {
	var h hello.ClientHello
	if !d.FromClient || hello.Parse(d.Data, &h) != hello.OK {
		return false, false
	}
	return true, len(h.Cookie) > 0
}
