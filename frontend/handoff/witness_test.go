package handoff

import (
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
)

// doubted has the watch look at the server after clients were refused, several times in a row.
func doubted(t *testing.T, b *Backend) {
	t.Helper()
	for range 5 {
		b.Recheck(Refused)
		if b.look(t.Context(), toTheEnd); !b.Ready() {
			t.Fatal("not ready after a refusal")
		}
	}
}

// A client can be refused for what it did itself, where cookies get too old. That costs nobody else a cookie.
func TestRefusedClientCostsNoCookies(t *testing.T) {
	t.Parallel()
	s, b := openTimed(t, 8)
	b.lifetime.passed.Store(int64(time.Hour)) // on a slow machine no cookie is too old to be shown
	b.look(t.Context(), toTheEnd)
	for range 3 {
		doubted(t, b)
		b.witness.cleared = time.Time{}
		b.look(t.Context(), toTheEnd)
	}
	if n := b.Status().Harvests; n != 1 {
		t.Errorf("refused clients cost %d harvests", n-1)
	}
	s.Change(func(s *server.Server) { s.Key = "second" })
	b.witness.cleared = time.Time{}
	b.Recheck(Refused)
	if b.look(t.Context(), toTheEnd); b.Status().Harvests != 2 {
		t.Error("a restarted server's refusal is not taken for one")
	}
}

// Nor does a question that got no answer in time.
func TestLostAnswerCostsNoCookies(t *testing.T) {
	t.Parallel()
	s, b := openTimed(t, 8)
	b.lifetime.passed.Store(int64(time.Hour))
	b.look(t.Context(), toTheEnd)
	s.Change(func(s *server.Server) { s.Silent = true })
	b.look(t.Context(), toTheEnd)
	s.Change(func(s *server.Server) { s.Silent = false })
	if b.look(t.Context(), toTheEnd); b.Status().Harvests != 1 {
		t.Error("harvested again after one lost answer")
	}
}

// Where nothing tells a restart from a refused client, refusals cost the pool its cookies at a bounded rate.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	_, b := openHeld(t, 4)
	b.reports.accepted.Store(true) // a restart alone is no reason to probe
	doubted(t, b)
	if n := b.Status().Harvests; n != 2 {
		t.Errorf("five refusals at once make %d harvests, want 2", n)
	}
	b.witness.forgot = time.Time{}
	b.reports.accepted.Store(true)
	if b.look(t.Context(), toTheEnd); b.Status().Harvests != 3 {
		t.Error("the refusals that were put off are forgotten")
	}
}

// A silent server's canary changes its port again and again; nothing is kept of the earlier ones.
func TestClosedCanariesAreForgotten(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Auto, 4)
	if err != nil {
		t.Fatal(err)
	}
	s.Change(func(s *server.Server) { s.Silent = true })
	for range 2*freshAfter + 1 {
		b.look(t.Context(), toTheEnd)
	}
	if n := len(b.prober.owed); n > 1 {
		t.Errorf("%d sockets are remembered, of which one is open", n)
	}
}
