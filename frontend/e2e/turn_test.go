package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// turnServer starts coturn with nothing but its DTLS listener.
func turnServer(t *testing.T, addr netip.AddrPort) *server {
	t.Helper()
	cert, key := certFiles(t)
	host, dir := addr.Addr().String(), t.TempDir()
	p := start(t, "", "turnserver", "-n", "-L", host, "-E", host, "-p", strconv.Itoa(int(freePort(t))),
		"--tls-listening-port", strconv.Itoa(int(addr.Port())), "--cert", cert, "--pkey", key, "--no-tcp", "--no-tls", "--no-cli", "--no-auth",
		"--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--db", filepath.Join(dir, "db"))
	awaitListener(t, p, addr)
	return &server{program: p, addr: addr}
}

// turnClient is a client of a TURN server. What it pings with is a STUN Binding request (RFC 8489 section 5), of which
// the answer repeats the transaction ID.
type turnClient struct {
	association
	say  func(request string)
	says func(answer string) bool
}

func (c turnClient) ping(text string) {
	id := fmt.Sprintf("\x21\x12\xa4\x42%-11.11s\n", text) // the end of the line is the last of its 12 bytes
	eventually(c.testing(), "coturn answers", func() bool {
		c.say("\x00\x01\x00\x00" + id) // what comes before the end of the handshake is lost
		time.Sleep(50 * time.Millisecond)
		return c.says(id)
	})
}

func (c turnClient) testing() *testing.T {
	if o, ok := c.association.(*opensslClient); ok {
		return o.t
	}
	return c.association.(*pionClient).t
}

// turnOpenSSL is openssl s_client as a client of a TURN server.
func turnOpenSSL(t *testing.T, addr netip.AddrPort) association {
	t.Helper()
	c := dialOpenSSL(t, addr)
	return turnClient{c, func(request string) { c.program.say(strings.TrimSuffix(request, "\n")) }, c.program.says}
}

// turnPion is Pion as one.
func turnPion(t *testing.T, addr netip.AddrPort) association {
	t.Helper()
	c := pion()(t, addr).(*pionClient)
	var got strings.Builder
	return turnClient{c, func(request string) {
		if _, err := c.conn.Write([]byte(request)); err != nil {
			t.Errorf("pion: write: %v", err)
		}
		b := make([]byte, 2048)
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		n, err := c.conn.Read(b)
		if err != nil {
			t.Errorf("pion: read: %v", err)
		}
		got.Write(b[:n])
	}, func(answer string) bool { return strings.Contains(got.String(), answer) }}
}

// TestMatrixTurnAtOnce: 20 clients at a time reach coturn, whose cookies are good for one connection each.
func TestMatrixTurnAtOnce(t *testing.T) {
	if !*matrix {
		t.Skip("run by make test-matrix: it needs coturn")
	}
	t.Parallel()
	s := turnServer(t, address("127.0.0.1", freePort(t)))
	g := startGuard(t, s.addr, func(c *frontend.Config) { c.HarvestPool = 64 })
	for i := range 20 {
		t.Run(fmt.Sprint("client ", i), func(t *testing.T) {
			t.Parallel()
			c := turnPion(t, g.addr)
			c.ping(fmt.Sprint("ping ", i))
			c.close()
		})
	}
}
