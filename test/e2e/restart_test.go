package e2e

import (
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestServerRestart: the guard notices that the server was restarted, and the next clients get its new cookies.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	for name, startServer := range map[string]func(t *testing.T, addr netip.AddrPort) *server{
		"s_server":    func(t *testing.T, addr netip.AddrPort) *server { return opensslServer(t, addr) },
		"gnutls-serv": func(t *testing.T, addr netip.AddrPort) *server { return gnutlsServer(t, addr) },
		"harvest":     func(t *testing.T, addr netip.AddrPort) *server { return echoServer(t, addr, "harvest") },
		"trust":       func(t *testing.T, addr netip.AddrPort) *server { return echoServer(t, addr, "trust") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, address("127.0.0.1", freePort(t)))
			g := startGuard(t, s.addr)
			backend := func() (up bool, harvests uint64) {
				b := g.Status().Services[0].Backends[0]
				return b.Up, b.Harvests
			}
			_, before := backend()
			for _, text := range []string{"ping before", "ping between", "ping after"} {
				c := openssl()(t, g.addr)
				c.ping(text)
				c.(*opensslClient).stop() // the server is killed as well, so no close_notify can be exchanged
				s.stop()
				eventually(t, "the guard notices that the server is down", func() bool { up, _ := backend(); return !up })
				s = startServer(t, s.addr)
				eventually(t, "the guard is ready again", func() bool {
					_, harvests := backend()
					return g.Ready() == nil && (name == "trust" || harvests > before)
				})
				_, before = backend()
			}
		})
	}
}

// TestServerChangesCookies: a server that returns with other cookies may need another mode. Clients get through in
// any case; one that accepts any cookie accepts harvested ones, too.
func TestServerChangesCookies(t *testing.T) {
	t.Parallel()
	s := echoServer(t, address("127.0.0.1", freePort(t)), "trust")
	g := startGuard(t, s.addr)
	for _, mode := range []string{"harvest", "trust", "harvest"} {
		s.stop()
		s = echoServer(t, s.addr, mode)
		// With trust the guard has no cookie to compare, so a refused client makes it probe again.
		eventually(t, "a client gets through to a server for "+mode, func() bool {
			c := dialOpenSSL(t, g.addr)
			defer c.stop()
			c.say("ping " + mode)
			refusals := func() uint64 { return g.count(metrics.ServerVerify) + g.count(metrics.WrongCookie) }
			before := refusals()
			eventually(t, "the client gets through, or is refused, by the server or by a guard that has new cookies", func() bool {
				return c.says("ping "+mode+"\n") || refusals() > before
			})
			return c.says("ping " + mode + "\n")
		})
		if now := g.Status().Services[0].Backends[0].Handoff; mode == "harvest" && now != mode {
			t.Errorf("hand-off %s for a server that needs %s", now, mode)
		}
	}
}

// TestGuardRestart: the guard is stopped and started on its port, with a new secret and a new pool, while a client
// is connected. The client's association is lost, as with any proxy; neither it nor any other client may stall.
func TestGuardRestart(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"harvest", "trust"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), mode)
			g := startGuard(t, s.addr, own(t))
			c := openssl()(t, g.addr)
			c.ping("ping before")
			g.stop()
			again := startGuard(t, s.addr, func(c *frontend.Config) { c.Services[0].Listen = g.addr })
			c.(*opensslClient).say("ping without a flow")
			eventually(t, "its record is dropped: it belongs to no flow", func() bool {
				return again.Status().Packets["client"]["dropped/encrypted"] > 0
			})
			c.(*opensslClient).stop()
			c = openssl()(t, g.addr)
			c.ping("ping after")
			c.close()
		})
	}
	t.Run("between the hellos", func(t *testing.T) {
		t.Parallel()
		s := echoServer(t, address("127.0.0.1", freePort(t)), "harvest")
		g := startGuard(t, s.addr, own(t))
		restart := make(chan struct{})
		p := startPath(t, g.addr, func(d *netpath.Datagram) netpath.Fate {
			if d.Nth == 0 && !d.FromClient {
				close(restart)
				return netpath.Drop // so that the client retransmits, to another guard
			}
			return netpath.Pass
		})
		c := dialOpenSSL(t, p.Addr)
		<-restart
		g.stop()
		startGuard(t, s.addr, func(c *frontend.Config) { c.Services[0].Listen = g.addr })
		c.ping("ping through the second guard")
		c.close()
	})
}

// own returns a port that no other socket gets while the guard is down.
func own(t *testing.T) func(*frontend.Config) {
	t.Helper()
	port := freePort(t)
	return func(c *frontend.Config) {
		c.Services[0].Listen = netip.AddrPortFrom(c.Services[0].Listen.Addr(), port)
	}
}

// TestStatusWhileStopping: a status request during the stop is answered, and the guard stops.
func TestStatusWhileStopping(t *testing.T) {
	t.Parallel()
	g := startGuard(t, startBackend(t, anyPort, byAddress).addr())
	asked := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 1000 {
			if s := g.Status(); len(s.Services) != 1 {
				t.Errorf("%d services, want 1", len(s.Services))
			}
			if i == 10 {
				close(asked)
			}
		}
	}()
	<-asked
	g.stop()
	<-done
}
