package e2e

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// verdict is what a path does with a datagram: so many copies go on.
type verdict int

const (
	drop verdict = iota
	pass
	twice
)

// step is a datagram on its way.
type step struct {
	fromClient bool
	nth        int // among the datagrams of its direction, from 0
	data       []byte
}

// hello reports whether the step is a ClientHello, or a first fragment of one, and whether it has a cookie.
func (s *step) hello() (isHello, cookie bool) {
	var h hello.ClientHello
	if !s.fromClient || hello.Parse(s.data, &h) != hello.OK {
		return false, false
	}
	return true, len(h.Cookie) > 0
}

// path is a network between one client and the guard that does to datagrams what the test wants.
type path struct {
	addr netip.AddrPort // where the client sends to

	mu    sync.Mutex
	steps []step
}

// startPath lets judge decide about each datagram, one at a time; with nil all pass.
func startPath(t *testing.T, guard netip.AddrPort, judge func(s *step) verdict) *path {
	t.Helper()
	near, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(guard.Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	far, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(guard))
	if err != nil {
		t.Fatal(err)
	}
	p := &path{addr: near.LocalAddr().(*net.UDPAddr).AddrPort()}
	var client struct {
		sync.Mutex
		addr netip.AddrPort
	}
	carry := func(s step, send func(b []byte) error) {
		p.mu.Lock()
		p.steps = append(p.steps, s)
		p.mu.Unlock()
		copies := pass
		if judge != nil {
			copies = judge(&s)
		}
		for range copies {
			_ = send(s.data) // the other end may be gone
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		b := make([]byte, 1<<16)
		for nth := 0; ; nth++ {
			n, from, err := near.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			client.Lock()
			client.addr = from
			client.Unlock()
			carry(step{true, nth, bytes.Clone(b[:n])}, func(b []byte) error { _, err := far.Write(b); return err })
		}
	})
	running.Go(func() {
		b := make([]byte, 1<<16)
		for nth := 0; ; {
			n, err := far.Read(b)
			if err != nil {
				if _, closed := far.Write(nil); closed != nil {
					return
				}
				continue // a refusal, while the guard is restarted
			}
			client.Lock()
			to := client.addr
			client.Unlock()
			carry(step{false, nth, bytes.Clone(b[:n])}, func(b []byte) error { _, err := near.WriteToUDPAddrPort(b, to); return err })
			nth++
		}
	})
	t.Cleanup(func() { near.Close(); far.Close(); running.Wait() })
	return p
}

// seen returns the steps so far of which keep is true.
func (p *path) seen(keep func(s *step) bool) (kept []step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.steps {
		if keep(&p.steps[i]) {
			kept = append(kept, p.steps[i])
		}
	}
	return kept
}
