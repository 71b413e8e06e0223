package e2e

import (
	"bytes"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestRebindingBeforeCookie: a client whose NAT gives it another port after the HelloVerifyRequest is challenged once more, at the new
// port, and the cookie of that challenge is accepted there.
func TestRebindingBeforeCookie(t *testing.T) {
	t.Parallel()
	for mode, server := range map[handoff.Mode]starter{
		handoff.Harvest: peer("openssl", ""), handoff.Trust: peer("openssl", "trust"), handoff.Replay: peer("openssl-accept", "trust"),
		handoff.DoubleHVR: peer("wolfssl", ""), handoff.NativeGnuTLS: peer("gnutls", ""), handoff.NativeQt: peer("qt", ""),
		handoff.NativeWolfSSL: peer("wolfssl", ""), handoff.Reset: peer("openssl-accept", "none"),
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			path := ""
			if mode.Native() {
				path = secretFile(t, cookie.Secret{1, 2, 3})
			}
			s := server(t, address("127.0.0.1", freePort(t)), path)
			g := startGuard(t, s.addr, func(c *frontend.Config) { c.Handoff, c.SecretFile = mode, path })
			from := newAddress()
			before, after := dialRaw(t, netip.AddrPortFrom(from, 0).String(), g.addr), dialRaw(t, netip.AddrPortFrom(from, 0).String(), g.addr)
			first := before.cookieFor(randomly(1))
			d := second(randomly(1), first)
			fresh, ok := hello.HelloVerifyCookie(after.ask(d))
			if !ok || bytes.Equal(fresh, first) {
				t.Fatalf("answer to the cookie of another port: cookie %x after %x, %v", fresh, first, ok)
			}
			accepted := metrics.Verified
			if mode == handoff.Reset {
				accepted = metrics.WasReset
			}
			if n := g.count(accepted); n != 0 {
				t.Errorf("the cookie of another port was accepted")
			}
			after.send(second(randomly(1), fresh))
			g.waitCount(t, accepted, 1)
		})
	}
}

// TestRebindingBeforeRetry: in DTLS 1.3 a client ends at a second HelloRetryRequest (RFC 8446 section 4.1.4), so it gets no answer at the new
// port, and its next attempt is answered.
func TestRebindingBeforeRetry(t *testing.T) {
	t.Parallel()
	for mode, server := range map[handoff.Mode]string{handoff.NativeWolfSSL: "wolfssl13", handoff.Reset: "pion4"} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			path, cookies := "", "13"
			if mode.Native() {
				path = secretFile(t, cookie.Secret{1, 2, 3})
				cookies = path
			}
			s := startPeer(t, address("127.0.0.1", freePort(t)), server, cookies)
			g := startGuard(t, s.addr, func(c *frontend.Config) { c.Handoff, c.SecretFile = mode, path })
			from := newAddress()
			before, after := dialRaw(t, netip.AddrPortFrom(from, 0).String(), g.addr), dialRaw(t, netip.AddrPortFrom(from, 0).String(), g.addr)
			after.send(offer13(before.retried()))
			g.waitCount(t, metrics.BadRetry, 1)
			if flows := g.listed(t, frontend.FlowFilter{}); len(flows) > 0 {
				t.Errorf("flows %v", flows)
			}
			after.retried()
		})
	}
}

// TestRebindingFinishes: after the second challenge handshakes finish where the server takes a ClientHello with message_seq 2, or its own
// HelloVerifyRequest comes later. Other servers do not take one without the guard either.
func TestRebindingFinishes(t *testing.T) {
	t.Parallel()
	for i := range stacks {
		s := &stacks[i]
		if s.server != "Mbed TLS" && s.mode != "double-hvr" && s.server != "OpenSSL, SSL_accept without cookies" {
			continue
		}
		t.Run(s.server+" "+s.mode, func(t *testing.T) {
			t.Parallel()
			_, guarded := s.both(t, roomy)
			var rebound atomic.Bool // datagrams of both directions come at the same time
			r := s.measure(t, guarded, func(d *netpath.Datagram) netpath.Fate {
				_, cookie := clientHello(d)
				d.Rebind = cookie && rebound.CompareAndSwap(false, true)
				return netpath.Pass
			}, patience)
			if !rebound.Load() || r.took == never {
				t.Errorf("rebound %v; the handshake does not finish: %d datagrams of the client", rebound.Load(), r.sent)
			}
		})
	}
}
