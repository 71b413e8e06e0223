package handoff

import (
	"context"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
)

// running opens a back end and watches it for as long as the test lasts.
func running(t *testing.T, s *server.Server, pool int) *Backend {
	t.Helper()
	b, err := openBackend(t, s, Auto, pool)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// A server that restarts gives new cookies; the watch notices by itself. One that answers as before is served as before,
// without being probed.
func TestRestartIsNoticed(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b := running(t, s, 16)
	m, k := b.NewVerifier(1), keyring(t, 'a')
	old := answer(t, m, k, newHello(1))
	b.HandshakeStarted()
	b.HandshakeDone(true)
	probed := b.profile()
	for i := range uint64(2) {
		s.Change(func(s *server.Server) { s.Key += "x" })
		waitFor(t, func() bool { return b.Status().Harvests == i+2 && b.Ready() })
		if b.profile() != probed {
			t.Error("a restart alone has the server probed")
		}
		now := answer(t, m, k, newHello(1))
		if string(now) == string(old) {
			t.Error("the old cookie is still given")
		}
		b.HandshakeStarted()
		b.HandshakeDone(true)
		if old = now; i != 0 {
			continue
		}
		s.Change(func(s *server.Server) { s.Silent = true }) // down in between
		waitFor(t, func() bool { return !b.Ready() })
		if verdict(m, k, newHello(1), nil).Length == 0 {
			t.Error("a silent server costs the cookies that are known")
		}
		s.Change(func(s *server.Server) { s.Silent = false })
	}
}

// A server that comes back as another one is probed again: if that shows in its first answer, or else when it refuses a
// client.
func TestAnotherServerIsProbed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*server.Server)
		want   Mode
	}{
		"other length":        {func(s *server.Server) { s.Length, s.Trusting = 24, true }, Trust},
		"bound to the random": {func(s *server.Server) { s.ByRandom = true }, DoubleHVR},
		"counting":            {func(s *server.Server) { s.Length, s.Counts, s.Trusting = 24, true, true }, Replay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := server.Start(t)
			b := running(t, s, 16)
			b.HandshakeStarted()
			b.HandshakeDone(true)
			s.Change(func(s *server.Server) { s.Key = "second"; c.change(s) })
			waitFor(t, func() bool { return b.Status().Harvests >= 2 || b.Mode() == c.want })
			if c.want == DoubleHVR {
				b.Recheck(Refused)
			}
			waitFor(t, func() bool { return b.Ready() && b.Mode() == c.want })
		})
	}
}

// While a client is in its handshake the server is not asked; when that takes too long, it is.
func TestHandshakesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b := running(t, s, 4)
	b.HandshakeStarted()
	asked, _, _ := s.Seen()
	b.Recheck(Unanswered) // no reason to disturb it
	began := time.Now()
	waitFor(t, func() bool { n, _, _ := s.Seen(); return n > asked })
	if took := time.Since(began); took < stalled-watchEvery-answerTime {
		t.Errorf("asked %v after a handshake began", took)
	}
	b.HandshakeDone(false)
	asked, _, _ = s.Seen()
	waitFor(t, func() bool { n, _, _ := s.Seen(); return n > asked })
}

// ... but not until its cookies are too old.
func TestHandshakesDoNotAgeCookies(t *testing.T) {
	t.Parallel()
	_, b := openTimed(t, 2)
	b.lifetime.end()
	b.lifetime.passed.Store(int64(stalled / 4))
	for _, kind := range []Mode{Harvest, DoubleHVR} { // which needs no cookies beforehand
		d := *b.decision.Load()
		d.mode = kind
		b.decision.Store(&d)
		b.HandshakeStarted()
		began := time.Now()
		b.waitForHandshakes(t.Context())
		if took := time.Since(began); (took < stalled) != (kind == Harvest) {
			t.Errorf("with %v the server was left alone for %v, and its cookies end after %v", kind, took, stalled/4)
		}
		b.HandshakeDone(false)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not come true in a minute")
		}
	}
}
