// Package handofftest is the server behind the guard, for tests that need no real one: it gives cookies as it
// is told to, tells the guard's own questions from what was relayed, and keeps the latter for the test.
package handofftest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Cookies decides about a ClientHello: the cookie of the HelloVerifyRequest that answers it, or nil for none.
type Cookies func(peer netip.AddrPort, h *hello.ClientHello) []byte

// key of all the cookies: any bytes will do.
var key = []byte("a server's own secret")

func mac(parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)[:20]
}

// ByAddress gives cookies that depend on the peer's address and port, as most servers do: they can be harvested.
func ByAddress(peer netip.AddrPort, h *hello.ClientHello) []byte {
	c := mac([]byte(peer.String()))
	if hmac.Equal(c, h.Cookie) {
		return nil
	}
	return c
}

// ByRandom gives cookies that depend on the ClientHello's random, as wolfSSL does: they cannot be harvested.
func ByRandom(peer netip.AddrPort, h *hello.ClientHello) []byte {
	c := mac([]byte(peer.String()), h.Random[:])
	if hmac.Equal(c, h.Cookie) {
		return nil
	}
	return c
}

// Any takes every cookie, as a server does whose verify callback returns 1.
func Any(peer netip.AddrPort, h *hello.ClientHello) []byte {
	if len(h.Cookie) > 0 {
		return nil
	}
	return ByAddress(peer, h)
}

// None asks for no cookie.
func None(netip.AddrPort, *hello.ClientHello) []byte { return nil }

// ServerHello is what the server says to a ClientHello that it takes: the beginning of one.
var ServerHello = []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 14, 2, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 0xfe, 0xfd}

// Datagram is one that was relayed to the server.
type Datagram struct {
	From netip.AddrPort
	Data []byte
}

// Server is a back end. It is closed when the test ends.
type Server struct {
	conn      *net.UDPConn
	cookies   Cookies
	questions atomic.Uint64
	got       chan Datagram
}

// Start starts a server at address, HOST:PORT, that answers ClientHellos; with nil cookies it never answers.
func Start(tb testing.TB, address string, cookies Cookies) *Server {
	tb.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		tb.Fatal(err)
	}
	// Room for a flood that gets through, so that the test can say how much of it did.
	s := &Server{conn: conn, cookies: cookies, got: make(chan Datagram, 1<<15)}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	tb.Cleanup(func() { conn.Close(); <-done })
	return s
}

// Addr is where it listens.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Questions is the number of the guard's own questions so far.
func (s *Server) Questions() uint64 { return s.questions.Load() }

// Relayed is the number of relayed datagrams that wait for Next.
func (s *Server) Relayed() int { return len(s.got) }

// Next is the next datagram that was relayed to the server. It fails the test if none comes.
func (s *Server) Next(tb testing.TB) Datagram {
	tb.Helper()
	select {
	case d := <-s.got:
		return d
	case <-time.After(10 * time.Second):
		tb.Fatal("nothing was relayed to the server")
		panic("unreachable")
	}
}

// Send sends data to a peer.
func (s *Server) Send(tb testing.TB, to netip.AddrPort, data []byte) {
	tb.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(data, to); err != nil {
		tb.Fatal(err)
	}
}

func (s *Server) serve() {
	buffer := make([]byte, 1<<16)
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		d := buffer[:n]
		var h hello.ClientHello
		isHello := hello.Parse(d, &h) == hello.OK
		if isHello && isQuestion(d, &h) || isCallOff(d) {
			s.questions.Add(1)
		} else {
			select {
			case s.got <- Datagram{peer, bytes.Clone(d)}:
			default:
			}
		}
		if isHello && s.cookies != nil {
			s.answer(peer, d, &h)
		}
	}
}

// answer overwrites question d.
func (s *Server) answer(peer netip.AddrPort, d []byte, h *hello.ClientHello) {
	answer := ServerHello
	if c := s.cookies(peer, h); c != nil {
		answer = d[:hello.PutHelloVerify(d, c)]
	}
	_, _ = s.conn.WriteToUDPAddrPort(answer, peer) // the guard may be gone
}

// isQuestion reports whether the guard itself made d: its probes have a tail of their own.
func isQuestion(d []byte, h *hello.ClientHello) bool {
	p := hello.Probe{Random: *h.Random, Cookie: h.Cookie}
	if len(h.Cookie) > 0 {
		p.MessageSeq, p.RecordSeq = 1, 1
	}
	return bytes.Equal(d, p.Append(nil))
}

// isCallOff reports whether d ends a handshake that the guard began to learn what the server does: a
// user_canceled alert.
func isCallOff(d []byte) bool { return len(d) == 15 && d[0] == 21 && d[14] == 90 }
