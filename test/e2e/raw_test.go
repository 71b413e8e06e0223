package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// raw is a client that sends exactly what the test wants.
type raw struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

// dialRaw opens a client at from, an address and port (which may be 0), towards the guard.
func dialRaw(t *testing.T, from string, guard netip.AddrPort) *raw {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &raw{t, conn, guard}
}

func (r *raw) addr() netip.AddrPort { return r.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (r *raw) send(d []byte) {
	r.t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort(d, r.to); err != nil {
		r.t.Fatal(err)
	}
}

// receive returns the next datagram, nil if none comes within wait.
func (r *raw) receive(wait time.Duration) []byte {
	r.t.Helper()
	b := make([]byte, 1<<16)
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	n, from, err := r.conn.ReadFromUDPAddrPort(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if from != r.to {
		r.t.Errorf("answer from %v, want it from %v, where the question went", from, r.to)
	}
	return b[:n]
}

// ask sends d and waits for the answer.
func (r *raw) ask(d []byte) []byte {
	r.t.Helper()
	r.send(d)
	answer := r.receive(patience)
	if answer == nil {
		r.t.Fatalf("no answer to %x", d)
	}
	return answer
}

// cookieFor sends b as a first ClientHello and returns the cookie in the answer.
func (r *raw) cookieFor(b *hellotest.Builder) []byte {
	r.t.Helper()
	first := *b
	first.Cookie, first.MessageSeq = nil, 0
	answer := r.ask(first.Bytes())
	c, ok := hello.HelloVerifyCookie(answer)
	if !ok {
		r.t.Fatalf("answer to a ClientHello: %x, want a HelloVerifyRequest", answer)
	}
	return bytes.Clone(c)
}

// second is b with a cookie, as the second ClientHello of a handshake.
func second(b *hellotest.Builder, cookie []byte) []byte {
	s := *b
	s.Cookie, s.MessageSeq, s.RecordSeq = cookie, 1, 1
	return s.Bytes()
}

// open does the cookie exchange for b and returns the second ClientHello, which it has sent.
func (r *raw) open(b *hellotest.Builder) []byte {
	r.t.Helper()
	d := second(b, r.cookieFor(b))
	r.send(d)
	return d
}

// randomly returns the smallest ClientHello, with a random that begins with n.
func randomly(n byte) *hellotest.Builder {
	b := hellotest.New()
	b.Random[0] = n
	return b
}

// record returns a record of the given content type and epoch, as after a handshake.
func record(contentType byte, epoch byte, payload string) []byte {
	d := []byte{contentType, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, byte(len(payload))}
	return append(d, payload...)
}

// cidRecord returns a record with a connection ID of four bytes (RFC 9146 section 4), as after a handshake.
func cidRecord(payload string) []byte {
	d := []byte{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 'c', 'i', 'd', '1', 0, byte(len(payload))}
	return append(d, payload...)
}
