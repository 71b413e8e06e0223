package e2e

import (
	"bytes"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// offer13 is a ClientHello of DTLS 1.3, long enough for any HelloRetryRequest. With a cookie it is the
// second ClientHello.
func offer13(c []byte) []byte {
	b := hellotest.New()
	extensions := [][]byte{hellotest.Extension(10, 0, 2, 0, 0x17), hellotest.Extension(51, 0, 0), hellotest.Extension(21, make([]byte, 100)...)}
	if c != nil {
		b.MessageSeq, b.RecordSeq = 1, 1
		extensions = append(extensions, hellotest.Cookie13(c...))
	}
	b.Tail = hellotest.Tail13(extensions...)
	return b.Bytes()
}

// retried gets the cookie of a HelloRetryRequest.
func (r *raw) retried() []byte {
	r.t.Helper()
	answer := r.ask(offer13(nil))
	retry, ok := hello.ReadRetry(answer)
	if !ok {
		r.t.Fatalf("answer to a ClientHello of DTLS 1.3: %x, want a HelloRetryRequest", answer)
	}
	return bytes.Clone(retry.Cookie)
}

// TestPreviousSecret: the cookie of a HelloRetryRequest is accepted after one rotation, and not after two.
func TestPreviousSecret(t *testing.T) {
	t.Parallel()
	secrets := []cookie.Secret{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}
	for mode, c := range map[handoff.Mode]struct {
		server string
		taken  metrics.Event
	}{handoff.Reset: {"pion4", metrics.WasReset}, handoff.NativeWolfSSL: {"wolfssl13", metrics.Verified}} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			path, cookies := "", "13"
			if mode.Native() {
				path = secretFile(t, secrets[0])
				cookies = path
			}
			s := startPeer(t, address("127.0.0.1", freePort(t)), c.server, cookies)
			g := startGuard(t, s.addr, func(f *frontend.Config) { f.Handoff, f.SecretFile = mode, path })
			early, late := dialRaw(t, "127.0.0.2:0", g.addr), dialRaw(t, "127.0.0.3:0", g.addr)
			one, two := early.retried(), late.retried()
			rotate := func(n int) {
				t.Helper()
				if path == "" {
					if err := g.Rotate(); err != nil {
						t.Fatal(err)
					}
					return
				}
				writeSecrets(t, path, secrets[n], secrets[n-1])
				eventually(t, "the guard has the new secret", func() bool { return g.Status().Secrets[0].Fingerprint == secrets[n].Fingerprint() })
			}
			rotate(1)
			early.send(offer13(one))
			g.waitCount(t, c.taken, 1)
			rotate(2)
			late.send(offer13(two))
			g.waitCount(t, metrics.BadRetry, 1)
			if n := g.count(c.taken); n != 1 {
				t.Errorf("%d cookies were accepted, want 1", n)
			}
		})
	}
}

// TestFirstFragments: 40 kB of first fragments, of ClientHellos whose rest never comes, are answered with fewer bytes, leave no state
// and do not reach the server.
func TestFirstFragments(t *testing.T) {
	t.Parallel()
	const bytesSent = 40_000
	for name, c := range map[string]struct {
		server, cookies string
		mode            handoff.Mode
		event           metrics.Event // how each is counted
	}{
		"reset, 1.2":         {"openssl-accept", "none", handoff.Reset, metrics.Answered},
		"reset, 1.3":         {"pion4", "13", handoff.Reset, metrics.Retried},
		"native-wolfssl":     {"wolfssl13", "", handoff.NativeWolfSSL, metrics.NoRetry}, // the server does not answer it either
		"native, dual":       {"wolfssl-dual", "", handoff.NativeWolfSSL, metrics.NoRetry},
		"reset, 1.2 and 1.3": {"pion4", "", handoff.Reset, metrics.Retried},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, cookies := "", c.cookies
			if c.mode.Native() {
				path = secretFile(t, cookie.Secret{1, 2, 3})
				cookies = path
			}
			s := startPeer(t, address("127.0.0.1", freePort(t)), c.server, cookies)
			g := startGuard(t, s.addr, func(f *frontend.Config) { f.Handoff, f.SecretFile = c.mode, path })
			r := dialRaw(t, "127.0.0.2:0", g.addr)
			b := hellotest.New()
			b.Tail = hellotest.Tail13(make([]byte, 4), hellotest.Extension(21, make([]byte, 1400)...))
			b.FragmentLength = 100
			sent, n := 0, uint64(0)
			for ; sent < bytesSent; n++ {
				b.Random[0], b.Random[1] = byte(n), byte(n>>8)
				d := b.Bytes()
				sent += len(d)
				r.send(d)
			}
			g.waitCount(t, c.event, n)
			received := 0
			for d := r.receive(100 * time.Millisecond); d != nil; d = r.receive(100 * time.Millisecond) {
				received += len(d)
			}
			if received > sent || c.event == metrics.NoRetry && received > 0 {
				t.Errorf("%d bytes of answers to %d", received, sent)
			}
			if flows := g.listed(t, frontend.FlowFilter{}); len(flows) > 0 {
				t.Errorf("flows %v", flows)
			}
		})
	}
}

// TestAlertsByTurns: a ClientHello with a valid cookie gets one alert, however often it is repeated. Of several in turn each gets its
// alert again, which is far shorter than the ClientHello.
func TestAlertsByTurns(t *testing.T) {
	t.Parallel()
	s := startPeer(t, address("127.0.0.1", freePort(t)), "openssl-accept", "none")
	g := startGuard(t, s.addr, func(f *frontend.Config) { f.Handoff = handoff.Reset })
	r := dialRaw(t, "127.0.0.2:0", g.addr)
	one, two := second(randomly(1), r.cookieFor(randomly(1))), second(randomly(2), r.cookieFor(randomly(2)))
	alerts := uint64(0)
	for _, d := range [][]byte{one, two, one, two} {
		alert := r.ask(d)
		alerts++
		if !hello.IsAlert(alert) || len(alert) != 15 || len(alert)*6 > len(d) {
			t.Errorf("%d bytes %x to %d", len(alert), alert, len(d))
		}
	}
	for range 10 {
		r.send(two)
	}
	g.waitCount(t, metrics.ResetBefore, 10)
	if n := g.count(metrics.WasReset); n != alerts {
		t.Errorf("%d alerts, want %d", n, alerts)
	}
}
