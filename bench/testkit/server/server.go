// Package server has a simulated DTLS server for tests: it does the cookie exchange in the way that a test selects, and
// answers a valid ClientHello with the start of a ServerHello.
package server

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Server is a simulated DTLS server. Its fields may change between datagrams, under Lock.
type Server struct {
	sync.Mutex
	Key           string // key of its cookies; another key simulates a restart
	Length        int    // length of its cookies
	ByPort        bool   // cookies depend on the client's port
	ByRandom      bool   // ... and on the random
	Trusting      bool   // accepts any cookie
	NoCookies     bool   // accepts a ClientHello without a cookie
	Silent        bool   // answers nothing
	Deaf          uint16 // does not answer this port
	Most          int    // receives from at most this many addresses; 0: all
	Clock         int    // cookies depend on it; 0: they do not
	Lifetime      int    // ... and are accepted for this time
	Once          bool   // accepts no ClientHello after the second
	Counts        bool   // keeps state per address from its first ClientHello until an alert, like OpenSSL's SSL_accept
	PerConnection bool   // with Counts: cookies depend on the state of the address
	DTLS13        bool   // chooses DTLS 1.3 where it is offered

	conn  *net.UDPConn
	first int      // ClientHellos without a cookie
	taken [][]byte // accepted ClientHellos
	other [][]byte
	known map[netip.AddrPort]bool   // with Counts
	kept  map[netip.AddrPort]int    // with PerConnection: number of the connection
	last  int                       // number of the latest
	heard map[netip.AddrPort]uint64 // record sequence number of the latest first ClientHello
	life  string                    // the Key that known belongs to
}

// Start starts a server on loopback with the most common cookies: 20 bytes that depend on the peer's address and port. It
// stops with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Key: "first", Length: 20, ByPort: true, conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return s
}

// Addr is the server's address.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Change changes the server's fields.
func (s *Server) Change(change func(*Server)) {
	s.Lock()
	defer s.Unlock()
	change(s)
}

// Seen returns the number of ClientHellos without a cookie, the accepted ones, and all other datagrams.
func (s *Server) Seen() (first int, taken, other [][]byte) {
	s.Lock()
	defer s.Unlock()
	return s.first, s.taken, s.other
}

func (s *Server) serve() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if answer := s.answer(buf[:n], from); answer != nil {
			_, _ = s.conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

func (s *Server) answer(d []byte, from netip.AddrPort) []byte {
	s.Lock()
	defer s.Unlock()
	if s.life != s.Key {
		s.life, s.known, s.kept = s.Key, make(map[netip.AddrPort]bool), make(map[netip.AddrPort]int)
		s.heard = make(map[netip.AddrPort]uint64)
	}
	if full := s.Most > 0 && len(s.known) >= s.Most; s.Silent || s.Deaf == from.Port() || full && !s.known[from] {
		return nil
	}
	var h hello.ClientHello
	if hello.Parse(d, &h) != hello.OK {
		s.other = append(s.other, bytes.Clone(d))
		if hello.IsAlert(d) {
			delete(s.known, from)
		}
		return nil
	}
	if s.DTLS13 && bytes.Contains(d, []byte{0, 43, 0, 5, 4, 0xfe, 0xfc}) {
		return helloRetryRequest
	}
	first, message := len(h.Cookie) == 0, hello.SequenceOf(d).Message
	repeats := s.PerConnection && first && s.known[from] && hello.SequenceOf(d).Record != s.heard[from]
	if s.Once && message > 1 || s.Counts && s.known[from] == first && !repeats {
		return nil
	}
	s.known[from] = true
	if first {
		if !repeats {
			s.last++
			s.kept[from] = s.last
		}
		s.heard[from] = hello.SequenceOf(d).Record
		s.first++
	}
	if s.NoCookies || !first && (s.Trusting || s.right(from, &h)) {
		s.taken = append(s.taken, bytes.Clone(d))
		a := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		a[18] = byte(message)
		return a
	}
	return helloVerify(d, s.cookie(from, &h, s.Clock))
}

// helloVerify is the HelloVerifyRequest with a cookie that answers d.
func helloVerify(d, cookie []byte) []byte {
	answer := []byte{22, 0xfe, 0xff, 0, 0}
	answer = append(answer, d[5:11]...)
	answer = append(answer, 0, byte(15+len(cookie)), 3, 0, 0, byte(3+len(cookie)), 0, 0, 0, 0, 0, 0, 0, byte(3+len(cookie)))
	return append(append(answer, 0xfe, 0xff, byte(len(cookie))), cookie...)
}

// cookie is the cookie for a client's ClientHello at a time.
func (s *Server) cookie(from netip.AddrPort, h *hello.ClientHello, clock int) []byte {
	mac := hmac.New(sha256.New, []byte(s.Key))
	if s.ByPort {
		fmt.Fprint(mac, from)
	}
	if s.ByRandom {
		mac.Write(h.Random[:])
	}
	if s.PerConnection {
		fmt.Fprint(mac, s.kept[from])
	}
	fmt.Fprint(mac, clock)
	return bytes.Repeat(mac.Sum(nil), 8)[:s.Length]
}

func (s *Server) right(from netip.AddrPort, h *hello.ClientHello) bool {
	for age := range s.Lifetime + 1 {
		if bytes.Equal(h.Cookie, s.cookie(from, h, s.Clock-age)) {
			return true
		}
	}
	return false
}

// helloRetryRequest is a HelloRetryRequest of DTLS 1.3 (RFC 9147 section 5.3, RFC 8446 section 4.1.4): a ServerHello
// whose random is the SHA-256 of "HelloRetryRequest", with TLS_AES_128_GCM_SHA256, supported_versions and a cookie.
var helloRetryRequest = func() []byte {
	random := sha256.Sum256([]byte("HelloRetryRequest"))
	body := append([]byte{0xfe, 0xfd}, random[:]...)
	body = append(body, 0, 0x13, 0x01, 0, 0, 14)
	body = append(body, 0, 43, 0, 2, 0xfe, 0xfc, 0, 44, 0, 4, 0, 2, 1, 2)
	n := byte(len(body))
	d := append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12 + n}, 2, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, n)
	return append(d, body...)
}()
