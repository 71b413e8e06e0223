package e2e

import (
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestWolfSSL13Resumes: a ticket is longer than the identities that the guard asks a server about, and its suite is that of the first
// session.
func TestWolfSSL13Resumes(t *testing.T) {
	t.Parallel()
	path := secretFile(t, cookie.Secret{1, 2, 3})
	s := startPeer(t, address("127.0.0.1", freePort(t)), "wolfssl13", path)
	g := startGuard(t, s.addr, func(c *frontend.Config) { c.Handoff, c.SecretFile = handoff.NativeWolfSSL, path })
	a := peerClient("wolfssl13-resume-client")(t, g.addr)
	a.ping("ping in a resumed session")
	a.close()
	if n := g.count(metrics.Retried); n < 2 {
		t.Errorf("%d HelloRetryRequests for two handshakes", n)
	}
}

// TestWolfSSL13PSK: a client with a pre-shared key needs a HelloRetryRequest with the key's suite, which is not the one
// that others get. On its first attempt the guard asks the server, unless --psk-suite names the suite.
func TestWolfSSL13PSK(t *testing.T) {
	t.Parallel()
	path := secretFile(t, cookie.Secret{1, 2, 3})
	s := startPeer(t, address("127.0.0.1", freePort(t)), "wolfssl13", path)
	client := peerClient("wolfssl13-psk-client")
	for name, suite := range map[string]handoff.Suite{"asked": 0, "told": 0x1301} {
		t.Run(name, func(t *testing.T) {
			g := startGuard(t, s.addr, func(c *frontend.Config) {
				c.Handoff, c.SecretFile, c.PSKSuite = handoff.NativeWolfSSL, path, suite
			})
			if suite == 0 {
				fails(client)(t, g.addr)
				eventually(t, "the guard has asked the server for the suite", func() bool { return connects(t, client, g.addr) })
			}
			a := client(t, g.addr)
			a.ping("ping by a pre-shared key")
			a.close()
		})
	}
}

// connects reports whether a client of bench/testkit/peers finishes a handshake, instead of ending with an error.
func connects(t *testing.T, dial dialer, addr netip.AddrPort) (ok bool) {
	t.Helper()
	p := dial(t, addr).(interface{ self() *program }).self()
	defer p.stop()
	eventually(t, "the client connects or ends", func() bool {
		select {
		case <-p.exited:
			return true
		default:
			ok = p.says("connected")
			return ok
		}
	})
	return ok
}

// TestWolfSSL13OverIPv6: the server's cookies cover a longer address there. wolfSSL's client ends with an error after the first
// HelloRetryRequest over IPv6, with or without a guard, so other clients are used.
func TestWolfSSL13OverIPv6(t *testing.T) {
	t.Parallel()
	path := secretFile(t, cookie.Secret{1, 2, 3})
	s := startPeer(t, address("::1", freePort(t)), "wolfssl-dual", path)
	g := startGuard(t, s.addr, func(c *frontend.Config) { c.Handoff, c.SecretFile = handoff.NativeWolfSSL, path })
	for _, client := range []string{"pion4-13", "pion4", "openssl"} {
		a := matrixClients[client].dial(t, g.addr)
		a.ping("ping over IPv6 by " + client)
		a.close()
	}
	if n := g.count(metrics.Retried); n < 2 {
		t.Errorf("%d HelloRetryRequests", n)
	}
}
