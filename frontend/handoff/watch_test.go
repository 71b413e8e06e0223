package handoff

import (
	"context"
	"testing"
	"testing/synctest"
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
	restarted(t, s, b, func() {
		waitFor(t, func() bool { return b.Status().Harvests == 2 && b.Ready() })
	})
}

// restarted restarts the server, waits until that is noticed, and checks that clients get the new cookies.
func restarted(t *testing.T, s *server.Server, b *Backend, noticed func()) {
	t.Helper()
	m, k := b.NewVerifier(1), keyring(t, 'a')
	old := answer(t, m, k, newHello(1))
	b.HandshakeStarted()
	b.HandshakeDone(true)
	probed := b.profile()
	s.Change(func(s *server.Server) { s.Key, s.Silent = "second", false })
	if noticed(); b.profile() != probed {
		t.Error("a restart alone has the server probed")
	}
	if string(answer(t, m, k, newHello(1))) == string(old) {
		t.Error("the old cookie is still given")
	}
}

// A server may be silent for a while, busy with one client. Its cookies are kept until it answers with others.
func TestSilenceIsTolerated(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Auto, 16)
	if err != nil {
		t.Fatal(err)
	}
	s.Change(func(s *server.Server) { s.Silent = true })
	if b.look(t.Context(), toTheEnd); !b.Ready() {
		t.Error("not ready after one question without an answer")
	}
	b.silentSince = b.silentSince.Add(-silentMost)
	if b.look(t.Context(), toTheEnd); b.Ready() {
		t.Errorf("ready after %v of silence", silentMost)
	}
	if verdict(b.NewVerifier(1), keyring(t, 'a'), newHello(1), nil).Length == 0 {
		t.Error("a silent server costs the cookies that are known")
	}
	restarted(t, s, b, func() {
		if b.look(t.Context(), toTheEnd); !b.Ready() {
			t.Error("not ready although the server answers again")
		}
	})
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

// waited is how long the watch waits for handshakes, by a virtual clock.
func waited(t *testing.T, b *Backend) time.Duration {
	began := time.Now()
	b.waitForHandshakes(t.Context())
	return time.Since(began)
}

// While a client is in its handshake the server is not asked; when that takes too long, it is.
func TestHandshakesAreLeftAlone(t *testing.T) {
	t.Parallel()
	b, err := openBackend(t, server.Start(t), Auto, 4)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		const step = watchTroubled / 5
		if took := waited(t, b); took != 0 {
			t.Errorf("waited %v for no handshake", took)
		}
		b.HandshakeStarted()
		b.Recheck(Unanswered) // no reason to disturb it
		if took := waited(t, b); took < stalled || took > stalled+step {
			t.Errorf("waited %v for a handshake that never ends, want %v", took, stalled)
		}
		b.HandshakeStarted()
		time.AfterFunc(time.Second, func() { b.HandshakeDone(true); b.HandshakeDone(false) })
		if took := waited(t, b); took < time.Second || took > time.Second+step {
			t.Errorf("waited %v for two handshakes of a second", took)
		}
	})
}

// A watch that runs leaves handshakes alone: it asks again, but not before the handshake has stalled.
func TestWatchWaitsForHandshakes(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b := running(t, s, 4)
	const least = stalled - watchEvery - answerTime
	for range 5 { // a question may have been on its way when the handshake began
		b.HandshakeStarted()
		asked, _, _ := s.Seen()
		began := time.Now()
		waitFor(t, func() bool { n, _, _ := s.Seen(); return n > asked })
		if b.HandshakeDone(false); time.Since(began) >= least {
			return
		}
	}
	t.Errorf("asked within %v of each of five handshakes' beginnings", least)
}

// ... but not until its cookies are too old.
func TestHandshakesDoNotAgeCookies(t *testing.T) {
	t.Parallel()
	_, b := openTimed(t, 2)
	synctest.Test(t, func(t *testing.T) { agesCookies(t, b) })
}

func agesCookies(t *testing.T, b *Backend) {
	b.lifetime.end()
	b.lifetime.passed.Store(int64(stalled / 4))
	for _, kind := range []Mode{Harvest, DoubleHVR} { // which needs no cookies beforehand
		d := *b.decision.Load()
		d.mode = kind
		b.decision.Store(&d)
		b.HandshakeStarted()
		if took := waited(t, b); (took < stalled) != (kind == Harvest) {
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
