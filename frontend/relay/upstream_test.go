package relay

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

func TestPooledPortIsTakenOnce(t *testing.T) {
	server, err := udpbatch.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpbatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	p, err := OpenUpstream(server.Local(), new(atomic.Uint32))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if !p.Acquire() || p.Acquire() || p.Free() {
		t.Error("taken twice")
	}
	p.Release()
	if !p.Free() || !p.Acquire() {
		t.Error("not free after release")
	}
}

func TestUpstreamsBeyondTheKernelsPorts(t *testing.T) {
	server, err := udpbatch.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpbatch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	u := NewUpstreams(server.Local())
	first, err := u.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if a := first.Local().Addr(); a != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("the first sockets come from %v, want the address that servers expect", a)
	}
	seen := make(map[netip.AddrPort]bool)
	ports := make(map[uint16]bool)
	for range 600 {
		up, err := u.Open(PortsMost())
		if err != nil {
			t.Fatal(err)
		}
		defer up.Close()
		if seen[up.Local()] || !up.Local().Addr().IsLoopback() {
			t.Fatalf("%v is had twice, or not of loopback", up.Local())
		}
		seen[up.Local()] = true
		ports[up.Local().Port()] = true
	}
	if len(ports) > 8 {
		t.Errorf("600 sockets have %d ports, want some three", len(ports))
	}
	if _, err := NewUpstreams(netip.MustParseAddrPort("192.0.2.1:1")).Open(PortsMost()); ReasonOf(err) != NoPorts {
		t.Errorf("another host's server: %v, want no ports", err)
	}
}
