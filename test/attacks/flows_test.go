package attacks

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// unlimited removes the rate limit, so that only the limits on flows are under test.
func unlimited(c *frontend.Config) { c.HelloRate = limit.Rate{PerSecond: -1} }

// abandon does the cookie exchange and makes the server begin a handshake that is never finished.
func (c *client) abandon() bool {
	second := c.prove(newHello(), time.Second)
	if second != nil {
		c.send(second)
	}
	return second != nil
}

// abandon does so from an attacker's address.
func (g *guard) abandon(from netip.Addr) bool {
	c := g.dial(from)
	defer c.end()
	return c.abandon()
}

// serves reports whether a new client at an address finishes its handshake.
func (g *guard) serves(from netip.Addr) bool {
	c := g.dial(from)
	defer c.end()
	return c.connect(patience)
}

// Two real addresses that begin handshakes and finish none do not use up the pool: at the default rates, and as
// fast as possible.
func TestHalfOpenFlowsOfTwoSources(t *testing.T) {
	for name, change := range map[string]func(*frontend.Config){"default rates": func(*frontend.Config) {}, "unlimited": unlimited} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, false)
			g := startGuard(t, s.addr(), func(c *frontend.Config) {
				change(c)
				c.Handoff, c.HarvestPool = handoff.Harvest, 256
			})
			busy := g.sessions(10, source)
			begun, tried, served := 0, 0, 0
			stop := time.Now().Add(lasting(6*time.Second, 4*time.Minute))
			// Two new clients per second, because each served client keeps its pool entry for 30 s of silence.
			for i := 0; time.Now().Before(stop); i++ {
				next := time.Now().Add(time.Second / 2)
				for range 20 {
					if g.abandon(source(1000 + i%2)) {
						begun++
					}
				}
				tried++
				if g.serves(source(2000 + i%200)) {
					served++
				}
				if i%10 == 9 && living(busy) != len(busy) {
					t.Fatalf("a session in use is gone after %d handshakes", begun)
				}
				time.Sleep(time.Until(next))
			}
			t.Logf("2 sources began %d handshakes in front of a pool of 256 and finished none; %d of %d new clients were served", begun, served, tried)
			g.report()
			if served != tried {
				t.Errorf("%d of %d new clients were served", served, tried)
			}
			if n := living(busy); n != len(busy) {
				t.Errorf("%d of %d sessions are alive", n, len(busy))
			}
		})
	}
}

// A forged 14-byte alert from a client's address and port ends no session, silent or busy.
func TestForgedAlerts(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(*frontend.Config) {})
	n := 10
	if *whole {
		n = 100
	}
	silent, busy := g.sessions(n, source), g.sessions(n, func(i int) netip.Addr { return source(500 + i) })
	sent := 0
	// A closing flow ends after 10 s of silence.
	for end := time.Now().Add(lasting(13*time.Second, 3*time.Minute)); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		for _, c := range append(busy, silent...) {
			if sent < 2*n || c != silent[0] { // one of the silent ones gets a single alert
				c.send(forgedAlert)
				sent++
			}
		}
		if a := living(busy); a != n {
			t.Fatalf("%d of %d busy sessions are alive after %d forged alerts", a, n, sent)
		}
	}
	a := living(silent)
	t.Logf("%d forged alerts: %d of %d silent and %d of %d busy sessions are alive", sent, a, n, n, n)
	g.report()
	if a != n {
		t.Errorf("%d of %d silent sessions are alive", a, n)
	}
}

// Right guesses, each from another prefix, do not use up the pool, nor the tokens of --backend-hello-rate of
// prefixes that are known: 20 right guesses per second, as 1.3 million guesses per second score against 65 536 cookies.
func TestRightGuessesFromEverywhere(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(c *frontend.Config) {
		c.Handoff, c.HarvestPool = handoff.Harvest, 256
		c.BackendHelloRate.PerSecond = 40
	})
	sessions := g.sessions(20, func(i int) netip.Addr { return source(i % 4) })
	hits, tried, served := 0, 0, 0
	for end := time.Now().Add(lasting(6*time.Second, 3*time.Minute)); time.Now().Before(end); {
		next := time.Now().Add(time.Second / 4)
		for range 5 {
			hits++
			g.abandon(source(1000 + hits%8000))
		}
		tried++
		if g.serves(source(tried % 4)) {
			served++
		}
		time.Sleep(time.Until(next))
	}
	alive := living(sessions)
	t.Logf("%d right guesses: %d of %d new clients are served, %d of %d sessions are alive", hits, served, tried, alive, len(sessions))
	g.report()
	if served != tried || alive != len(sessions) {
		t.Errorf("%d of %d new clients are served, %d of %d sessions are alive", served, tried, alive, len(sessions))
	}
}

// ClientHellos with guessed cookies from an established client's address and port, right ones among them, do not end
// its session (RFC 6347 section 4.2.8).
func TestGuessesFromAnEstablishedAddress(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(c *frontend.Config) {
		unlimited(c)
		c.Handoff, c.HarvestPool = handoff.Harvest, 64
	})
	victims := g.sessions(10, source)
	guesses, right := 0, 0
	for end := time.Now().Add(lasting(4*time.Second, time.Minute)); time.Now().Before(end); {
		for _, c := range victims {
			// The right cookie, which one guess in 64 hits, and then all that an attacker can send without keys.
			before, sent := s.flights.Load(), false
			eventually(t, "the right guess reaches the server", func() bool {
				if !sent {
					sent = c.abandon()
					guesses++
				}
				return s.flights.Load() > before
			})
			right++
			c.send(record(22, 0, append([]byte{16}, make([]byte, 20)...)...)) // the second flight, with the wrong keys
			c.send(record(22, 1, 0xff))
			c.send(forgedAlert)
		}
		if n := living(victims); n != len(victims) {
			t.Fatalf("%d of %d sessions are alive after %d right guesses", n, len(victims), right)
		}
	}
	t.Logf("%d right guesses from established addresses: %d of %d sessions are alive", guesses, len(victims), len(victims))
	g.report()
}

// With --max-flows 1000 reached by established sessions, half-open attempts end none of them.
func TestHalfOpenAttemptsBesideEstablishedSessions(t *testing.T) {
	t.Parallel()
	const flows = 1000
	attempts := 20_000
	if *whole {
		attempts = 100_000
	}
	s := startServer(t, true)
	g := startGuard(t, s.addr(), func(c *frontend.Config) {
		unlimited(c)
		c.Handoff, c.MaxFlows = handoff.Trust, flows
		c.FlowsPerSource, c.HalfOpenPerSource = -1, -1
		c.IdleTimeout = time.Hour // after a tenth of it a flow may be evicted
	})
	sessions := g.sessions(flows, func(i int) netip.Addr { return source(i % 500) })
	attackers := make([]*client, 500)
	for i := range attackers {
		attackers[i] = g.dial(source(1000 + i))
	}
	begun := 0
	for begun < attempts {
		begun += each(attackers, (*client).abandon)
		if n := living(sessions); n != flows {
			t.Fatalf("%d of %d established sessions are alive after %d half-open attempts", n, flows, begun)
		}
	}
	alive := living(sessions)
	t.Logf("%d half-open attempts of %d sources: %d of %d established sessions are alive", begun, len(attackers), alive, flows)
	g.report()
	if alive != flows {
		t.Errorf("%d of %d established sessions are alive", alive, flows)
	}
	if n := g.Flows(); n > flows {
		t.Errorf("%d flows, more than %d", n, flows)
	}
}

// Retransmissions of the ClientHello that opened a flow cost tokens, since the server parses each of them.
func TestReplayedHello(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(*frontend.Config) {})
	c := g.dial(source(1))
	second := c.prove(newHello(), patience)
	const repeats = 20_000
	before, began := s.flights.Load(), time.Now()
	for i := range repeats {
		c.send(second)
		if i%64 == 63 { // let the guard read all of them
			eventually(t, "the guard has read them", func() bool { return g.Totals().Received >= uint64(i) })
		}
	}
	got := s.flights.Load() - before // the guard's own questions are other ClientHellos
	t.Logf("%d repeats of a ClientHello: %d reached the server", repeats, got)
	g.report()
	if got == 0 || got > 100+uint64(frontend.DefaultHelloRate.PerSecond*time.Since(began).Seconds()) {
		t.Errorf("%d of %d repeats reached the server", got, repeats)
	}
}

// 300 clients behind one address start at once and are served within 10 s, with the defaults.
func TestClientsBehindOneAddress(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(*frontend.Config) {})
	clients := make([]*client, 300)
	for i := range clients {
		clients[i] = g.dial(source(0))
	}
	began := time.Now()
	n := connected(clients, patience)
	t.Logf("%d of %d clients behind one address are served, the last after %v", n, len(clients), time.Since(began))
	g.report()
	if n != len(clients) {
		t.Errorf("%d of %d clients are served", n, len(clients))
	}
}

// --backend-hello-rate lets the tokens of one second through at once.
func TestBackendHelloRate(t *testing.T) {
	t.Parallel()
	s := startServer(t, false)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.BackendHelloRate.PerSecond = 40 })
	served, tried := 0, 0
	for range 3 {
		clients := make([]*client, 20)
		for i := range clients {
			clients[i] = g.dial(source(tried + i))
		}
		tried += len(clients)
		served += connected(clients, patience)
	}
	t.Logf("%d of %d handshakes, 20 at once, at 40 per second", served, tried)
	if served != tried {
		t.Errorf("%d of %d handshakes are finished", served, tried)
	}
	if n := g.count(metrics.ServiceRate); n > 30 {
		t.Errorf("%d ClientHellos are over the rate", n)
	}
}
