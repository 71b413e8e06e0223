package sample

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// loopback gives each client an address of its own.
func loopback() func() netip.Addr {
	a := netip.MustParseAddr("127.7.0.1")
	return func() netip.Addr {
		a = a.Next()
		return a
	}
}

// run has n clients ask a server, of which one in every returns its cookie, and returns the report.
func run(t *testing.T, target netip.AddrPort, n uint64, every int) Report {
	t.Helper()
	s, err := New(Config{Target: target, Source: loopback(), Rate: 200, Return: every, Hello: traffic.Captured("openssl-dtls12:1")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // no client starts after the n-th
		for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
			if _, all := s.Take(); all.Events[Clients] >= n {
				cancel()
			}
		}
	}()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	_, all := s.Take()
	if all.Events[Clients] < n {
		t.Errorf("%d clients, want %d", all.Events[Clients], n)
	}
	return all
}

// want compares counts of events; all others except Clients must be 0. -1 is the number of clients, -2 the number of
// those that return a cookie when one in two does.
func want(t *testing.T, r Report, events map[Event]int) {
	t.Helper()
	n := int(r.Events[Clients])
	for e := range EventLen {
		w := events[e]
		switch {
		case e == Clients:
			continue
		case w == -1:
			w = n
		case w == -2:
			w = n / 2
		}
		if got := int(r.Events[e]); got != w {
			t.Errorf("%s: %d, want %d, of %d clients", Names[e], got, w, n)
		}
	}
}

// respond answers ClientHellos on loopback by f.
func respond(t *testing.T, f func(d []byte, h *hello.ClientHello) []byte) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			n, peer, err := conn.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			var h hello.ClientHello
			if hello.Parse(b[:n], &h) == hello.OK {
				_, _ = conn.WriteToUDPAddrPort(f(b[:n], &h), peer)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// serverHello is the start of a ServerHello.
var serverHello = []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
