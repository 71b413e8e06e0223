package e2e

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

// cookies decides about a ClientHello: the cookie of the HelloVerifyRequest that answers it, or nil for none.
type cookies func(peer netip.AddrPort, h *hello.ClientHello) []byte

// key is the key of all cookies: any bytes will do.
var key = []byte("a server's own secret")

func mac(parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write(p)
	}
	return m.Sum(nil)[:20]
}

// byAddress issues cookies that depend on the peer's address and port, as most servers do: they can be harvested.
func byAddress(peer netip.AddrPort, h *hello.ClientHello) []byte {
	c := mac([]byte(peer.String()))
	if hmac.Equal(c, h.Cookie) {
		return nil
	}
	return c
}

// anyCookie accepts every cookie, like a server whose verify callback returns 1.
func anyCookie(peer netip.AddrPort, h *hello.ClientHello) []byte {
	if len(h.Cookie) > 0 {
		return nil
	}
	return byAddress(peer, h)
}

// serverHello is the server's answer to a ClientHello that it accepts: the beginning of a ServerHello.
var serverHello = []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 14, 2, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 0xfe, 0xfd}

// relayed is a datagram that the guard relayed to the server.
type relayed struct {
	From netip.AddrPort
	Data []byte
}

// backend is a scripted server: it issues cookies as the test configures it, distinguishes the guard's own questions from
// relayed datagrams, and keeps the latter for the test. It is closed when the test ends.
type backend struct {
	conn    *net.UDPConn
	cookies cookies
	asked   atomic.Uint64
	got     chan relayed
}

// startBackend starts a server at address, HOST:PORT, that answers ClientHellos; with nil cookies it never answers.
func startBackend(tb testing.TB, address string, cookies cookies) *backend {
	tb.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		tb.Fatal(err)
	}
	// Room for a flood that gets through, so that the test can report how much of it did.
	s := &backend{conn: conn, cookies: cookies, got: make(chan relayed, 1<<15)}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	tb.Cleanup(func() { conn.Close(); <-done })
	return s
}

// addr is the address that it listens on.
func (s *backend) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// questions is the number of the guard's own questions so far.
func (s *backend) questions() uint64 { return s.asked.Load() }

// relayed is the number of relayed datagrams that next has not returned yet.
func (s *backend) relayed() int { return len(s.got) }

// next returns the next datagram relayed to the server. It fails the test if none comes.
func (s *backend) next(tb testing.TB) relayed {
	tb.Helper()
	select {
	case d := <-s.got:
		return d
	case <-time.After(patience):
		tb.Fatal("nothing was relayed to the server")
		panic("unreachable")
	}
}

// send sends data to a peer.
func (s *backend) send(tb testing.TB, to netip.AddrPort, data []byte) {
	tb.Helper()
	if _, err := s.conn.WriteToUDPAddrPort(data, to); err != nil {
		tb.Fatal(err)
	}
}

func (s *backend) serve() {
	buffer := make([]byte, 1<<16)
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		d := buffer[:n]
		var h hello.ClientHello
		isHello := hello.Parse(d, &h) == hello.OK
		if isQuestion(d) || isAbort(d) {
			s.asked.Add(1)
		} else {
			select {
			case s.got <- relayed{peer, bytes.Clone(d)}:
			default:
			}
		}
		if isHello && s.cookies != nil {
			s.answer(peer, d, &h)
		}
	}
}

// answer overwrites question d.
func (s *backend) answer(peer netip.AddrPort, d []byte, h *hello.ClientHello) {
	answer := serverHello
	if c := s.cookies(peer, h); c != nil {
		answer = d[:hello.PutHelloVerify(d, c)]
	}
	_, _ = s.conn.WriteToUDPAddrPort(answer, peer) // the guard may be gone
}

// All of the guard's own questions have these: the cipher suites, which are in the first of two fragments, and the
// end of the extensions, which is in the second. No client of the tests has them.
var (
	plain     = (&hello.Probe{}).Append(nil)
	suites    = plain[25+38 : 25+60] // after headers, client_version, random and the lengths of empty fields; up to the end of the first fragment
	extension = plain[len(plain)-24:]
)

// isQuestion reports whether the guard itself made d.
func isQuestion(d []byte) bool { return bytes.Contains(d, suites) || bytes.Contains(d, extension) }

// isAbort reports whether d ends a handshake that the guard began to learn what the server does: a
// user_canceled alert.
func isAbort(d []byte) bool { return len(d) == 15 && d[0] == 21 && d[14] == 90 }
