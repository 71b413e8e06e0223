package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// verdict is how many copies of a datagram a path forwards.
type verdict int

const (
	drop verdict = iota
	pass
	twice
)

// step is a datagram on its way.
type step struct {
	fromClient bool
	client     netip.AddrPort
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

// path is a network before the guard or a server, which drops, delays and duplicates datagrams as the test wants.
type path struct {
	addr   netip.AddrPort // where clients send to
	decide func(s *step) verdict

	mu    sync.Mutex
	steps []step
	count [2]int // steps of each direction
}

// startPath lets decide choose what happens to each datagram; with nil all pass. Each client's come from a port of its own.
func startPath(t *testing.T, to netip.AddrPort, decide func(s *step) verdict) *path {
	t.Helper()
	near, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0)))
	if err != nil {
		t.Fatal(err)
	}
	p := &path{addr: near.LocalAddr().(*net.UDPAddr).AddrPort(), decide: decide}
	var running sync.WaitGroup
	running.Go(func() {
		far := make(map[netip.AddrPort]*net.UDPConn) // by client
		defer func() {
			for _, c := range far {
				c.Close()
			}
		}()
		b := make([]byte, 1<<16)
		for {
			n, client, err := near.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			c := far[client]
			if c == nil {
				if c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to)); err != nil {
					t.Error(err)
					return
				}
				far[client] = c
				running.Go(func() { p.back(c, near, client) })
			}
			p.carry(step{fromClient: true, client: client, data: bytes.Clone(b[:n])}, func(d []byte) error { _, err := c.Write(d); return err })
		}
	})
	t.Cleanup(func() { near.Close(); running.Wait() })
	return p
}

// back carries what comes to far to a client, until far is closed.
func (p *path) back(far, near *net.UDPConn, client netip.AddrPort) {
	b := make([]byte, 1<<16)
	for {
		n, err := far.Read(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // a refusal, while the other end is restarted
			continue
		}
		p.carry(step{client: client, data: bytes.Clone(b[:n])}, func(d []byte) error { _, err := near.WriteToUDPAddrPort(d, client); return err })
	}
}

// carry applies to s what decide returned.
func (p *path) carry(s step, send func(d []byte) error) {
	p.mu.Lock()
	of := &p.count[0]
	if !s.fromClient {
		of = &p.count[1]
	}
	s.nth = *of
	*of++
	p.steps = append(p.steps, s)
	p.mu.Unlock()
	copies := pass
	if p.decide != nil {
		copies = p.decide(&s)
	}
	for range copies {
		_ = send(s.data) // the other end may be gone
	}
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
