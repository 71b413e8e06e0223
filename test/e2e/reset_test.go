package e2e

import (
	"net/netip"
	"testing"

	"github.com/pion/dtls/v4/pkg/protocol"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// failing has a client try, and waits until its attempt has failed.
type failing func(t *testing.T, addr netip.AddrPort)

// fails is for clients that are programs.
func fails(d dialer) failing {
	return func(t *testing.T, addr netip.AddrPort) {
		t.Helper()
		p := d(t, addr).(interface{ self() *program }).self()
		select {
		case <-p.exited:
		case <-t.Context().Done():
		}
		p.stop()
	}
}

func failsPion(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	if _, err := dialPion(t, addr, patience); err == nil {
		t.Error("pion's first attempt does not fail")
	}
}

func failsPion4(least protocol.Version) failing {
	return func(t *testing.T, addr netip.AddrPort) {
		t.Helper()
		if _, err := dialPion4(t, addr, least, patience); err == nil {
			t.Error("pion v4's first attempt does not fail")
		}
	}
}

// firstAttempts are those of the matrix's clients that prove their address by one that fails.
var firstAttempts = map[string]failing{
	"openssl": fails(openssl()), "gnutls": fails(gnutls()), "mbedtls": fails(peerClient("mbedtls-client")),
	"wolfssl": fails(peerClient("wolfssl-client")), "pion": failsPion,
	"pion4": failsPion4(protocol.Version1_2), "pion4-13": failsPion4(protocol.Version1_3),
	"wolfssl13": fails(peerClient("wolfssl13-client")), "wolfssl-dual": fails(peerClient("wolfssl-dual-client")),
	"botan": fails(botan), "fragments": fails(openssl("-dtls1_2", "-mtu", "256")),
	"erlang": fails(peerClient("erlang-client")), "jsse": fails(peerClient("jsse-client")), "bouncycastle": fails(peerClient("bouncycastle-client")),
	"godot": fails(peerClient("godot-client")), "werift": fails(peerClient("werift-client")),
}

// TestReset: a client's first attempt proves its address and fails at once, the next one reaches the server, which is
// one that no cookie of the guard's can be shown to.
func TestReset(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server, cookies string
		mac             cookie.MAC
		clients         []string
	}{
		"OpenSSL without cookies": {"openssl-accept", "none", cookie.HMACSHA256, []string{"openssl", "pion"}},
		"Pion v4":                 {"pion4", "", cookie.HMACSHA256, []string{"gnutls", "pion4", "wolfssl13"}},
		"Pion v4, SipHash":        {"pion4", "", cookie.SipHash, []string{"gnutls", "pion4-13", "wolfssl13"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startPeer(t, address("127.0.0.1", freePort(t)), c.server, c.cookies)
			for _, client := range c.clients {
				t.Run(client, func(t *testing.T) {
					g := startGuard(t, s.addr, func(g *frontend.Config) { g.Handoff, g.MAC = handoff.Reset, c.mac })
					firstAttempts[client](t, g.addr)
					g.waitCount(t, metrics.WasReset, 1)
					a := matrixClients[client].dial(t, g.addr)
					a.ping("ping after a reset")
					a.close()
					g.waitCount(t, metrics.AdmittedKnown, 1)
				})
			}
		})
	}
}
