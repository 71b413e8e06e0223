package attacks

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// client is a socket towards the guard.
type client struct {
	t    *testing.T
	conn *net.UDPConn
}

// source returns the i-th loopback address of a client that completes cookie exchanges; each is in a /24 of its own.
func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, byte(16 + i>>8), byte(i), 9}) }

// dial opens a client at an address.
func (g *guard) dial(from netip.Addr) *client {
	g.t.Helper()
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(g.addr))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	return &client{g.t, conn}
}

func (c *client) send(d []byte) {
	_, _ = c.conn.Write(d) // the guard's socket buffer may be full, and networks drop datagrams too
}

// receive waits for a datagram that f accepts.
func (c *client) receive(wait time.Duration, f func([]byte) bool) bool {
	b := make([]byte, 1<<16)
	_ = c.conn.SetReadDeadline(time.Now().Add(wait))
	for {
		n, err := c.conn.Read(b)
		if err != nil {
			return false
		}
		if f(b[:n]) {
			return true
		}
	}
}

// ask sends d until f accepts an answer, and retransmits after 1 s, 2 s, 4 s (RFC 6347 section 4.2.4.1).
func (c *client) ask(d []byte, within time.Duration, f func([]byte) bool) bool {
	end := time.Now().Add(within)
	for wait := time.Second; ; wait *= 2 {
		left := time.Until(end)
		if left <= 0 {
			return false
		}
		c.send(d)
		if c.receive(min(wait, left), f) {
			return true
		}
	}
}

// newHello returns a ClientHello with a random of its own.
func newHello() *hellotest.Builder {
	b := hellotest.New()
	for i := 0; i < len(b.Random); i += 8 {
		binary.NativeEndian.PutUint64(b.Random[i:], rand.Uint64())
	}
	return b
}

// prove does the cookie exchange for b and returns the second ClientHello without sending it; nil if there was no answer.
func (c *client) prove(b *hellotest.Builder, within time.Duration) (second []byte) {
	c.ask(b.Bytes(), within, func(d []byte) bool {
		cookie, ok := hello.HelloVerifyCookie(d)
		if ok {
			s := *b
			s.Cookie, s.MessageSeq, s.RecordSeq = bytes.Clone(cookie), 1, 1
			second = s.Bytes()
		}
		return ok
	})
	return second
}

// end closes a client that an attacker no longer needs.
func (c *client) end() { c.conn.Close() }

// connect does a handshake and reports whether it finished in time. On a second HelloVerifyRequest it starts over.
func (c *client) connect(within time.Duration) bool {
	end := time.Now().Add(within)
	for time.Until(end) > 0 {
		second := c.prove(newHello(), time.Until(end))
		if second == nil {
			return false
		}
		flown, again := false, false
		c.ask(second, time.Until(end), func(d []byte) bool {
			_, again = hello.HelloVerifyCookie(d)
			flown = bytes.Equal(d, serverFlight)
			return again || flown
		})
		if again {
			continue
		}
		return flown && c.ask(clientFlight, time.Until(end), func(d []byte) bool { return bytes.Equal(d, serverDone) })
	}
	return false
}

// alive reports whether an application record comes back.
func (c *client) alive() bool {
	d := record(23, 1, binary.BigEndian.AppendUint64(nil, rand.Uint64())...)
	return c.ask(d, patience, func(got []byte) bool { return bytes.Equal(got, d) })
}

// sessions returns clients that have finished a handshake.
func (g *guard) sessions(n int, from func(i int) netip.Addr) []*client {
	g.t.Helper()
	all := make([]*client, n)
	for i := range all {
		all[i] = g.dial(from(i))
	}
	const atOnce = 50
	for part := range slices.Chunk(all, atOnce) {
		if n := connected(part, patience); n != len(part) {
			g.t.Fatalf("%d of %d sessions begin", n, len(part))
		}
	}
	return all
}

// connected starts all handshakes at once and counts those that finish in time.
func connected(clients []*client, within time.Duration) int {
	return each(clients, func(c *client) bool { return c.connect(within) })
}

// living counts the clients that are alive.
func living(clients []*client) int { return each(clients, (*client).alive) }

func each(clients []*client, f func(*client) bool) (n int) {
	results := make(chan bool, len(clients))
	for _, c := range clients {
		go func() { results <- f(c) }()
	}
	for range clients {
		if <-results {
			n++
		}
	}
	return n
}
