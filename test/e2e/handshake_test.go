package e2e

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestFragmentedHellos: ClientHellos that do not fit one datagram are answered from their first fragment, and
// with a valid cookie all their fragments reach the server.
func TestFragmentedHellos(t *testing.T) {
	t.Parallel()
	big := []string{"-dtls1_2", "-mtu", "256", "-alpn", "first-protocol,second-protocol,third-protocol,fourth-protocol"}
	for name, c := range map[string]struct {
		dial  dialer
		start func(t *testing.T) *server
	}{
		"gnutls to gnutls-serv": {gnutls("--mtu", "128"), func(t *testing.T) *server { return gnutlsServer(t, address("127.0.0.1", freePort(t))) }},
		"openssl to s_server":   {openssl(big...), func(t *testing.T) *server { return opensslServer(t, address("::1", freePort(t))) }},
		"openssl to trust":      {openssl(big...), func(t *testing.T) *server { return echoServer(t, address("127.0.0.1", freePort(t)), "trust") }},
		"pion to trust":         {pion(dtls.WithMTU(100)), func(t *testing.T) *server { return echoServer(t, address("127.0.0.1", freePort(t)), "trust") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, c.start(t).addr)
			dropped := func() bool { return g.count(metrics.Dropped(hello.LaterFragment)) > 0 }
			p := startPath(t, g.addr, func(d *netpath.Datagram) netpath.Fate {
				// Wait until the guard has read the whole first ClientHello: in one batch with the second, the first's later
				// fragments are tried again when the client is verified.
				for _, cookie := clientHello(d); cookie && !dropped() && t.Context().Err() == nil; {
					time.Sleep(time.Millisecond)
				}
				return netpath.Pass
			})
			a := c.dial(t, p.Addr)
			a.ping("ping in pieces")
			a.close()
			later := p.Seen(func(d *netpath.Datagram) bool {
				return hello.Parse(d.Data, new(hello.ClientHello)) == hello.LaterFragment
			})
			if len(later) < 2 {
				t.Errorf("%d later fragments of ClientHellos on the path, want those of two: the test is void", len(later))
			}
			if !dropped() {
				t.Error("no later fragment of the first ClientHello was dropped, although its client had proved nothing")
			}
		})
	}
}

// TestLossAndDuplication: the client's retransmissions repair loss and duplication in the cookie exchange.
func TestLossAndDuplication(t *testing.T) {
	t.Parallel()
	nth := func(want int, v netpath.Fate, is func(d *netpath.Datagram) bool) func() func(d *netpath.Datagram) netpath.Fate {
		return func() func(d *netpath.Datagram) netpath.Fate {
			var n atomic.Int32
			return func(d *netpath.Datagram) netpath.Fate {
				if is(d) && int(n.Add(1)) == want {
					return v
				}
				return netpath.Pass
			}
		}
	}
	first := func(d *netpath.Datagram) bool { is, cookie := clientHello(d); return is && !cookie }
	again := func(d *netpath.Datagram) bool { _, cookie := clientHello(d); return cookie }
	verify := func(d *netpath.Datagram) bool { _, is := hello.HelloVerifyCookie(d.Data); return is && !d.FromClient }
	answer := func(d *netpath.Datagram) bool { return !d.FromClient && !verify(d) }
	for name, decide := range map[string]func() func(d *netpath.Datagram) netpath.Fate{
		"first hello lost":            nth(1, netpath.Drop, first),
		"first hello twice":           nth(1, netpath.Twice, first),
		"hello verify request lost":   nth(1, netpath.Drop, verify),
		"hello verify request twice":  nth(1, netpath.Twice, verify),
		"second hello lost":           nth(1, netpath.Drop, again),
		"second hello twice":          nth(1, netpath.Twice, again),
		"server's first answer lost":  nth(1, netpath.Drop, answer),
		"server's first answer twice": nth(1, netpath.Twice, answer),
		// Not all datagrams: s_server stalls on a duplicate of the finished message, with no guard, too.
		"exchange twice": func() func(d *netpath.Datagram) netpath.Fate {
			return func(d *netpath.Datagram) netpath.Fate {
				if first(d) || again(d) || verify(d) {
					return netpath.Twice
				}
				return netpath.Pass
			}
		},
	} {
		for client, dial := range map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()} {
			t.Run(name+"/"+client, func(t *testing.T) {
				t.Parallel()
				s := opensslServer(t, address("127.0.0.1", freePort(t)))
				g := startGuard(t, s.addr)
				c := dial(t, startPath(t, g.addr, decide()).Addr)
				c.ping("ping over a bad path")
				if n := g.count(metrics.Verified); n != 1 {
					t.Errorf("%d flows were opened, want 1: a copy of the second ClientHello belongs to its flow", n)
				}
				if n := g.count(metrics.ServerVerify); n != 0 {
					t.Errorf("%d HelloVerifyRequests came from the server", n)
				}
			})
		}
	}
}

// TestReplayOverLoss: whatever is lost of the guard's exchange with a server on behalf of a client, the client's
// retransmissions repair it.
func TestReplayOverLoss(t *testing.T) {
	t.Parallel()
	for _, lost := range []string{
		"Q", "V", "H", // the guard's question, the server's answer, the client's ClientHello
		"QQH", "QQ", "QH", "VQH", "HQ", "HH", "QQHQ",
	} {
		t.Run(lost, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), "replay")
			var mu sync.Mutex
			rest, ready := lost, false
			var flow netip.AddrPort
			g := startGuard(t, startPath(t, s.addr, func(d *netpath.Datagram) netpath.Fate {
				mu.Lock()
				defer mu.Unlock()
				var h hello.ClientHello
				what := byte(0)
				if d.FromClient && hello.Parse(d.Data, &h) == hello.OK && ready && *h.Random != [32]byte{} { // a zero random is the watch's
					flow = d.Client
					if what = 'Q'; len(h.Cookie) > 0 {
						what = 'H'
					}
				} else if _, verify := hello.HelloVerifyCookie(d.Data); verify && d.Client == flow {
					what = 'V'
				}
				if rest != "" && what == rest[0] {
					rest = rest[1:]
					return netpath.Drop
				}
				return netpath.Pass
			}).Addr)
			mu.Lock()
			ready = true
			mu.Unlock()
			c := openssl()(t, g.addr)
			c.ping("ping over a bad path")
			c.close()
			mu.Lock()
			defer mu.Unlock()
			if n := g.count(metrics.Verified); n != 1 || rest != "" {
				t.Errorf("%d flows were opened, want 1, and %q was not lost", n, rest)
			}
		})
	}
}

// TestRotationBetweenHellos: the cookie is issued under one secret and comes back under another.
func TestRotationBetweenHellos(t *testing.T) {
	t.Parallel()
	// rotating rotates n times when the first HelloVerifyRequest is on its way.
	rotating := func(g *guard, n int) func(d *netpath.Datagram) netpath.Fate {
		return func(d *netpath.Datagram) netpath.Fate {
			if _, is := hello.HelloVerifyCookie(d.Data); is && !d.FromClient && d.Nth == 0 {
				for range n {
					if err := g.Rotate(); err != nil {
						panic(err)
					}
				}
			}
			return netpath.Pass
		}
	}
	for client, dial := range map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()} {
		t.Run("once/"+client, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, opensslServer(t, address("127.0.0.1", freePort(t))).addr)
			c := dial(t, startPath(t, g.addr, rotating(g, 1)).Addr)
			c.ping("ping under the next secret")
			c.close()
			if n := g.count(metrics.WrongCookie); n != 0 {
				t.Errorf("%d cookies of the previous secret were refused", n)
			}
		})
	}
	// The guard answers the expired cookie with another HelloVerifyRequest (RFC 6347 section 4.2.1), and the
	// client returns that one's cookie. But servers number their first message as if there had been one
	// HelloVerifyRequest, so this handshake fails, and the client's next attempt must not.
	for name, start := range map[string]func(t *testing.T) *server{
		"s_server":    func(t *testing.T) *server { return opensslServer(t, address("127.0.0.1", freePort(t))) },
		"gnutls-serv": func(t *testing.T) *server { return gnutlsServer(t, address("127.0.0.1", freePort(t))) },
		"trust":       func(t *testing.T) *server { return echoServer(t, address("127.0.0.1", freePort(t)), "trust") },
	} {
		t.Run("twice/"+name, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, start(t).addr)
			p := startPath(t, g.addr, rotating(g, 2))
			late := dialOpenSSL(t, p.Addr)
			late.say("ping by chance") // with harvest the cookie is right anyway, one time in 64
			lucky := func() bool { return late.says("ping by chance\n") }
			eventually(t, "a second HelloVerifyRequest", func() bool {
				return lucky() || len(p.Seen(func(d *netpath.Datagram) bool { _, is := hello.HelloVerifyCookie(d.Data); return is && !d.FromClient })) >= 2
			})
			if name == "gnutls-serv" { // it answers, so the client sees the mistake and reports it
				eventually(t, "the client gives up", func() bool {
					select {
					case <-late.exited:
						return true
					default:
						return lucky()
					}
				})
			}
			if lucky() {
				late.close()
				return
			}
			late.stop()
			c := openssl()(t, g.addr)
			c.ping("ping by the second attempt")
			c.close()
		})
	}
}
