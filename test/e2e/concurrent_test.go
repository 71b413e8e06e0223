package e2e

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestConcurrentClients: 50 clients at once exchange data, in the modes that auto chooses.
func TestConcurrentClients(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"harvest", "trust", "replay"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), mode)
			g := startGuard(t, s.addr, func(c *frontend.Config) { c.HarvestPool = 2048 }) // each entry is a descriptor
			if chosen := g.Status().Services[0].Backends[0].Handoff; chosen != mode {
				t.Fatalf("auto chose %s for a server that needs %s", chosen, mode)
			}
			converseAll(t, g, 50)
			if n := g.count(metrics.Verified); n < 50 {
				t.Errorf("%d verified ClientHellos of 50 clients", n)
			}
			eventually(t, "one outcome of the client stage per datagram", func() bool { // the clients' last alerts may be on their way
				totals := g.Totals()
				return clientSum(totals) == totals.Received
			})
		})
	}
}

// TestReservedPorts: of 512 clients between their two ClientHellos, hardly any loses its port to
// another. Not parallel: it needs more descriptors than all other tests together.
func TestReservedPorts(t *testing.T) {
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.HarvestPool = 4096 })
	eventually(t, "the pool is full", func() bool { b := g.Status().Services[0].Backends[0]; return b.Ready && !b.Harvesting })
	const clients = 512
	var seconds [clients][]byte
	var all [clients]*raw
	for i := range all {
		b := hellotest.New()
		binary.BigEndian.PutUint16(b.Random[:], uint16(i))
		all[i] = dialRaw(t, anyPort, g.addr)
		seconds[i] = second(b, all[i].cookieFor(b))
	}
	for i, c := range all {
		c.send(seconds[i])
		c.receive(patience) // from the server, or a second HelloVerifyRequest
	}
	seen := func() uint64 {
		return g.count(metrics.WrongCookie) + g.count(metrics.Verified) + g.count(metrics.PortTaken)
	}
	eventually(t, "all second ClientHellos are counted", func() bool { return seen() >= clients }) // after they are answered
	// With one candidate port per client, 30 lose it on average; with four, one client in fifty runs of this test.
	if n := g.count(metrics.WrongCookie); n > 3 {
		t.Errorf("%d of %d clients lost their port", n, clients)
	}
	if n := seen(); n != clients {
		t.Errorf("%d second ClientHellos counted, want %d", n, clients)
	}
}

// converseAll runs n clients that are all open at the same time.
func converseAll(t *testing.T, g *guard, n int) {
	dialers := []dialer{openssl(), gnutls()}
	var open, wg sync.WaitGroup
	open.Add(n)
	for i := range n {
		dial := pion() // programs cost more CPU than the guard does, so most clients are Pion's
		if i < 10 {
			dial = dialers[i%len(dialers)]
		}
		wg.Go(func() {
			t.Run(fmt.Sprint("client ", i), func(t *testing.T) {
				opened := sync.OnceFunc(open.Done)
				defer opened() // if this client fails, the others must not wait for it
				c := dial(t, g.addr)
				c.ping(fmt.Sprintf("ping %d opens", i))
				opened()
				open.Wait()
				c.ping(fmt.Sprintf("ping %d goes on", i))
				c.close()
			})
		})
	}
	wg.Wait()
}
