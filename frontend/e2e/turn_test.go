package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// binding is a STUN Binding request (RFC 8489 section 5) with a transaction ID, and the part of the answer that repeats it. It
// ends with the end of a line, for clients that send lines.
func binding(number int) (request, answer string) {
	answer = "\x21\x12\xa4\x42" + fmt.Sprintf("ping %6d", number)
	return "\x00\x01\x00\x00" + answer, answer + "\n"
}

// TestTurn: clients reach coturn, whose cookies are good for one connection each, and have it answer.
func TestTurn(t *testing.T) {
	t.Parallel()
	need(t, "turnserver")
	s := turnServer(t, address("127.0.0.1", freePort(t)))
	g := startGuard(t, s.addr, func(c *frontend.Config) { c.HarvestPool = 64 })
	if got := g.Status().Services[0].Backend.Handoff; got != "harvest" {
		t.Fatalf("hand-off %s, want harvest", got)
	}
	c := dialOpenSSL(t, g.addr)
	for end := time.Now().Add(patience); ; {
		request, answer := binding(0)
		c.say(request)
		time.Sleep(100 * time.Millisecond)
		if c.says(answer) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("openssl s_client: no answer")
		}
	}
	c.close()
	gnutls()(t, g.addr).(*gnutlsClient).expect("Handshake was completed")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			c, err := dialPion(t, g.addr, patience)
			if err != nil {
				t.Errorf("pion %d: %v", i, err)
				return
			}
			request, answer := binding(1 + i)
			if _, err := c.conn.Write([]byte(request + "\n")); err != nil {
				t.Errorf("pion %d: %v", i, err)
			}
			_ = c.conn.SetReadDeadline(time.Now().Add(patience))
			got := make([]byte, 2048)
			if n, err := c.conn.Read(got); err != nil || !strings.Contains(string(got[:n]), answer) {
				t.Errorf("pion %d: %q, %v", i, got[:n], err)
			}
			c.close()
		})
	}
	wg.Wait()
}
