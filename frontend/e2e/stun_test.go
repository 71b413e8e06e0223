package e2e

import (
	"io"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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

// stunClient speaks STUN (RFC 5389) over the association of another client.
type stunClient struct {
	t *testing.T
	association
}

func stun(d dialer) dialer {
	return func(t *testing.T, addr netip.AddrPort) association { return &stunClient{t, d(t, addr)} }
}

// ping sends a Binding request whose transaction is text, and waits for the answer.
func (c *stunClient) ping(text string) {
	c.t.Helper()
	const cookie, idLen = "\x21\x12\xa4\x42", 12
	id := (text + strings.Repeat(".", idLen))[:idLen]
	request, answer := "\x00\x01\x00\x00"+cookie+id, cookie+id
	const success = "\x01\x01"
	answered := func(said string) bool {
		at := strings.Index(said, answer)
		return at >= 4 && said[at-4:at-2] == success
	}
	switch a := c.association.(type) {
	case *pionClient:
		if _, err := a.conn.Write([]byte(request)); err != nil {
			c.t.Fatalf("pion: write: %v", err)
		}
		b := make([]byte, 2048)
		_ = a.conn.SetReadDeadline(time.Now().Add(patience))
		if n, err := a.conn.Read(b); err != nil || !answered(string(b[:n])) {
			c.t.Fatalf("pion: read %x, %v", b[:n], err)
		}
	case interface{ self() *program }:
		p := a.self()
		again := time.Now()
		eventually(c.t, p.name+" has an answer to its Binding request", func() bool {
			if !time.Now().Before(again) { // what comes before the end of the handshake is lost
				again = time.Now().Add(2 * time.Second)
				_, _ = io.WriteString(p.stdin, request)
			}
			return answered(p.text())
		})
	}
}
