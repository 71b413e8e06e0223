package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestConcurrentClients: 50 clients at a time, all with data to exchange, through each hand-off that auto can
// choose.
func TestConcurrentClients(t *testing.T) {
	for _, mode := range []string{"harvest", "trust"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), mode)
			g := startGuard(t, s.addr, func(c *frontend.Config) { c.HarvestPool = 8192 })
			if chosen := g.Status().Services[0].Backend.Handoff; chosen != mode {
				t.Fatalf("auto chose %s for a server that wants %s", chosen, mode)
			}
			converseAll(t, g, 50)
			if n := g.count(metrics.Verified); n < 50 {
				t.Errorf("%d verified ClientHellos of 50 clients", n)
			}
			totals := g.Totals()
			if sum := clientSum(totals); sum != totals.Received {
				t.Errorf("client stage: %d outcomes of %d datagrams", sum, totals.Received)
			}
		})
	}
}

// converseAll runs n clients that are all open at one time.
func converseAll(t *testing.T, g *guard, n int) {
	dialers := []dialer{openssl(), gnutls()}
	var open, wg sync.WaitGroup
	open.Add(n)
	for i := range n {
		dial := pion() // programs cost more than the guard does, so they are the minority
		if i < 10 {
			dial = dialers[i%len(dialers)]
		}
		wg.Go(func() {
			t.Run(fmt.Sprint("client ", i), func(t *testing.T) {
				opened := sync.OnceFunc(open.Done)
				defer opened() // where this one fails, the others must not wait for it
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
