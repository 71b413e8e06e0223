package handoff

import (
	"context"
	"log/slog"
	"math"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A large pool has no sockets, serves long before it is full, and a guess is right once in as many tries as it has
// cookies. A server that is started anew is asked anew in the background, and clients are served meanwhile. Not parallel: it
// counts open files. With DTLSGUARD_LARGE it is of the default size, and guessed at more often.
func TestLargePool(t *testing.T) {
	pool, guesses := 1<<13, 1<<16/share
	if os.Getenv("DTLSGUARD_LARGE") != "" {
		pool, guesses = DefaultPool, 1<<22
	}
	s := server.Start(t)
	before := openFiles(t)
	began := time.Now()
	b, err := Open(t.Context(), Config{Server: s.Addr(), Pool: pool, Rate: 50_000, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	first := time.Since(began)
	if st := b.Status(); !st.Ready || st.Known < servesFrom*15/16 || st.Known > pool/2 || !st.Harvesting {
		t.Errorf("after Open: %+v", st)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	served := func(i uint16) bool {
		m, k := b.NewVerifier(1), keyring(t, 'a')
		h := newHello(i)
		v := verdict(m, k, h, nil)
		if v.Length == 0 {
			return false
		}
		c := append([]byte(nil), v.Answer[:v.Length]...)
		v = verdict(m, k, h, c)
		up := take(t, &v)
		if up == nil {
			return false
		}
		defer up.Release()
		p, err := newProber(s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		a, err := p.ask(t.Context(), up.Conn, 5*time.Second, (&hello.Probe{Cookie: c, MessageSeq: 1}).Append(nil))
		return err == nil && a.hello
	}
	full := func() bool { st := b.Status(); return !st.Harvesting && st.Known >= pool }
	inTime := 0
	for i := range uint16(20) {
		if served(i) {
			inTime++
		}
	}
	if inTime < 18 { // one or two may be between two steps
		t.Errorf("%d of 20 clients were served while the pool was filled", inTime)
	}
	waitFor(t, full)
	t.Logf("first client after %v, full after %v: %d cookies", first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond), b.Status().Known)
	if now := openFiles(t); now > before+20 {
		t.Errorf("%d open files before, %d with a pool of %d", before, now, b.Status().Pool)
	}
	harvests := b.Status().Harvests
	b.HandshakeStarted()
	b.HandshakeDone(true)
	s.Change(func(s *server.Server) { s.Key = "second" })
	waitFor(t, func() bool { return b.Status().Harvests > harvests && b.Ready() && served(1000) })
	if st := b.Status(); st.Known > pool/2 {
		t.Logf("served again only with %d cookies", st.Known)
	}
	waitFor(t, full)

	// Guesses by one who knows all cookies.
	d := b.decision.Load()
	g := &guessing{harvest: newHarvest(d.pool), k: keyring(t, 'a', 'b')}
	g.grace.clock = func() time.Time { return g.now }
	for _, c := range []struct {
		name  string
		after time.Duration
		right float64
	}{{"right after a rotation", 0, 2}, {"later", GraceTime + 1, 1}} {
		g.now = g.now.Add(c.after)
		g.ask(g.from(0))
		if c.after > 0 {
			g.now = g.now.Add(c.after)
		}
		right, n := 0, len(d.pool.entries)
		for i := range uint32(guesses) {
			if g.right(g.from(i), int(i)%n) {
				right++
			}
		}
		mean := float64(guesses) * c.right / float64(n)
		t.Logf("%s: %d of %d guesses are right, by expectation %.1f", c.name, right, guesses, mean)
		if math.Abs(float64(right)-mean) > 6*math.Sqrt(mean) {
			t.Errorf("%s: %d guesses are right, want %.1f", c.name, right, mean)
		}
	}
}

// Modes that need no pool have none; native modes need no cookies of one.
func TestPoolsWhereNeeded(t *testing.T) {
	t.Parallel()
	for m := Harvest; m < modeLen; m++ {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			b, err := openBackend(t, server.Start(t), m, 8)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := b.pool() != nil, m == Harvest || m.Native(); got != want {
				t.Errorf("a pool: %v", got)
			}
			if p := b.pool(); p != nil && (p.kept != nil || p.computed != m.Native()) {
				t.Errorf("pool of %d sockets, computed %v", len(p.kept), p.computed)
			}
		})
	}
}

// When nothing listens at the server's address, or it refuses a cookie, it is asked at once, whatever handshakes go on.
func TestLookAtOnce(t *testing.T) {
	t.Parallel()
	for _, why := range []Symptom{Refused, Gone} {
		s := server.Start(t)
		b, err := openBackend(t, s, Auto, 16)
		if err != nil {
			t.Fatal(err)
		}
		const noticed = 1700 * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			go func() { // a host that begins two handshakes per second
				for {
					b.HandshakeStarted()
					select {
					case <-stop:
						return
					case <-time.After(500 * time.Millisecond):
					}
				}
			}()
			synctest.Wait()
			time.AfterFunc(noticed, func() { b.Recheck(why) })
			if took := waited(t, b); took < noticed || took > noticed+watchTroubled {
				t.Errorf("%v is noticed after %v, and the server asked after %v", why, noticed, took)
			}
		})
		harvests := b.Status().Harvests
		s.Change(func(s *server.Server) { s.Key = "second" })
		if b.look(t.Context(), toTheEnd); b.Status().Harvests != harvests+1 {
			t.Errorf("%v: the restart is not seen", why)
		}
	}
}

// A server that stays silent to the canary is asked from another port; what answers there then has new cookies.
func TestSilentPortOfTheCanary(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 8)
	if err != nil {
		t.Fatal(err)
	}
	// A NAT keeps sending what comes from this port to a server that is gone.
	s.Change(func(s *server.Server) { s.Deaf, s.Key = b.canary.Local().Port(), "second" })
	old := b.canary.Local()
	for range freshAfter {
		b.look(t.Context(), toTheEnd)
	}
	if b.canary.Local() == old {
		t.Fatalf("%d questions without an answer, and still the same port", freshAfter)
	}
	harvests := b.harvests.Load()
	if b.look(t.Context(), toTheEnd); !b.Ready() || b.harvests.Load() != harvests+1 {
		t.Errorf("ready %v, %d harvests", b.Ready(), b.harvests.Load()-harvests)
	}
}
