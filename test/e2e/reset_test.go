package e2e

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/dtls/v4/pkg/protocol"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// failing starts a client and waits until its attempt has failed.
type failing func(t *testing.T, addr netip.AddrPort)

// fails is failing for clients that are programs.
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

// firstAttempts are the clients of the matrix whose failed first attempt verifies their address.
var firstAttempts = map[string]failing{
	"openssl": fails(openssl()), "gnutls": fails(gnutls()), "mbedtls": fails(peerClient("mbedtls-client")),
	"wolfssl": fails(peerClient("wolfssl-client")), "pion": failsPion,
	"pion4": failsPion4(protocol.Version1_2), "pion4-13": failsPion4(protocol.Version1_3),
	"wolfssl13": fails(peerClient("wolfssl13-client")), "wolfssl-dual": fails(peerClient("wolfssl-dual-client")),
	"botan": fails(botan), "fragments": fails(openssl("-dtls1_2", "-mtu", "256")),
	"erlang": fails(peerClient("erlang-client")), "jsse": fails(peerClient("jsse-client")), "bouncycastle": fails(peerClient("bouncycastle-client")),
	"godot": fails(peerClient("godot-client")), "werift": fails(peerClient("werift-client")),
}

// TestReset: a client's first attempt verifies its address and fails at once; the next one reaches the server, which
// accepts no cookie of the guard.
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

// TestForgedResumption: who resumes a session of his own from a forged address has the server's Finished sent there, and can forge
// what the client would send. That does not prove the address: only a server's data does, which waits for the client's Finished.
func TestForgedResumption(t *testing.T) {
	t.Parallel()
	server := startBackend(t, anyPort, func(netip.AddrPort, *hello.ClientHello) []byte { return nil }) // no cookies
	g := startGuard(t, server.addr(), func(f *frontend.Config) { f.Handoff = handoff.Limit })
	r := dialRaw(t, "127.0.0.2:0", g.addr)
	r.send(randomly(1).Bytes())
	client := server.next(t).From
	if got := r.receive(patience); !bytes.Equal(got, serverHello) {
		t.Errorf("the client gets %x, want a ServerHello", got)
	}
	answer := func(d []byte) {
		t.Helper()
		server.send(t, client, d)
		if got := r.receive(patience); !bytes.Equal(got, d) {
			t.Errorf("the client gets %x, want %x", got, d)
		}
	}
	answer(slices.Concat(record(20, 0, "\x01"), record(22, 1, "Finished")))
	r.send(record(22, 1, "forged"))
	eventually(t, "the flow is established", func() bool { return g.count(metrics.Finished) == 1 })
	if known := g.Addresses().Known; len(known) > 0 {
		t.Errorf("known: %v", known)
	}
	answer(record(23, 1, "data"))
	eventually(t, "the address is known", func() bool { return len(g.Addresses().Known) == 1 })
}

// TestDataBeforeFinished: a DTLS 1.3 server may send data before it has heard of the client (RFC 8446 section 2.3), so that proves no address,
// whatever is sent from there. What a server sends only after the client's own protected records does.
func TestDataBeforeFinished(t *testing.T) {
	t.Parallel()
	server := startBackend(t, anyPort, func(netip.AddrPort, *hello.ClientHello) []byte { return nil })
	g := startGuard(t, server.addr(), func(f *frontend.Config) { f.Handoff = handoff.Limit })
	// sealed is a record with a unified header, and the shortest ciphertext that there is (RFC 9147 section 4).
	sealed := func(epoch byte) []byte { return append([]byte{0x2c | epoch, 0, 1, 0, 17}, make([]byte, 17)...) }
	const handshake, application = 2, 3
	for _, c := range []struct {
		from  string
		early bool
		known int
	}{{"127.0.0.2:0", true, 0}, {"127.0.0.3:0", false, 1}} {
		r := dialRaw(t, c.from, g.addr)
		r.send(randomly(1).Bytes())
		client := server.next(t).From
		if got := r.receive(patience); !bytes.Equal(got, serverHello) {
			t.Errorf("the client gets %x, want a ServerHello", got)
		}
		data := func() {
			t.Helper()
			d := sealed(application)
			server.send(t, client, d)
			if got := r.receive(patience); !bytes.Equal(got, d) {
				t.Errorf("the client gets %x, want %x", got, d)
			}
		}
		if c.early {
			data()
		}
		r.send(sealed(handshake))
		server.next(t)
		data()
		if known := g.Addresses().Known; len(known) != c.known {
			t.Errorf("data before the client's records %v: known addresses %v, want %d", c.early, known, c.known)
		}
	}
}
