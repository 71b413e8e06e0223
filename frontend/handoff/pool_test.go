package handoff

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// openTimed opens a back end whose cookies depend on a clock that the test moves, and end with time.
func openTimed(t *testing.T, pool int) (*server.Server, *Backend) {
	t.Helper()
	s := server.Start(t)
	s.Change(func(s *server.Server) { s.Clock, s.Lifetime = 1, 5 })
	stop, ticking := make(chan struct{}), make(chan struct{})
	go func() { // while it is probed: a clock of seconds
		defer close(ticking)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				s.Change(func(s *server.Server) { s.Clock++ })
			}
		}
	}()
	b, err := openBackend(t, s, Auto, pool)
	close(stop)
	<-ticking
	if err != nil {
		t.Fatal(err)
	}
	if tr := b.profile(); b.Mode() != Harvest || !tr.TimeDependent || !tr.OldTaken {
		t.Fatalf("mode %v, traits %+v", b.Mode(), tr)
	}
	return s, b
}

// Cookies with a clock in them are asked for again before the server takes them no more, those that a client was given
// at the last moment; who has a port keeps it, and its cookie is asked for when the port is free.
func TestTimedCookiesAreRefreshed(t *testing.T) {
	t.Parallel()
	s, b := openTimed(t, 8)
	const young = time.Hour
	b.lifetime.end()
	b.lifetime.passed.Store(int64(2 * young))
	given, free, busy := 0, 1, b.pool().kept[2]
	busy.Acquire()
	all := int32(len(b.pool().entries))
	cookieOf := func(i int) (c [hello.MaxCookie]byte) { b.pool().entries[i].get(&c); return c }
	age := func(d time.Duration) {
		for i := range b.pool().asked {
			b.pool().asked[i] = time.Now().Add(-d)
		}
	}
	for _, step := range []struct {
		age                    time.Duration
		given, free, busyKnown bool // refreshed, refreshed, known
	}{{young / 2, false, false, true}, {young + young/8, false, true, false}, {young + young/2, true, true, false}} {
		age(step.age)
		b.pool().entries[given].reserve(7, b.pool().clock.Load()) // for seconds, which a busy machine may take for a step
		s.Change(func(s *server.Server) { s.Clock++ })
		beforeGiven, beforeFree := cookieOf(given), cookieOf(free)
		b.look(t.Context(), toTheEnd)
		if got := cookieOf(given) != beforeGiven; got != step.given {
			t.Errorf("at an age of %v that of a client under way was asked for anew: %v", step.age, got)
		}
		if got := cookieOf(free) != beforeFree; got != step.free {
			t.Errorf("at an age of %v one was asked for anew: %v", step.age, got)
		}
		if got := b.pool().entries[2].known(); got != step.busyKnown || !b.Ready() {
			t.Errorf("at an age of %v that of the busy port is known: %v, ready %v", step.age, got, b.Ready())
		}
	}
	b.pool().forgetOne(free)
	age(2 * young)
	if b.pool().refresh(t.Context(), young); b.pool().entries[free].known() {
		t.Error("one that is not known was asked for by refresh, and would be by fill again")
	}
	busy.Release()
	if b.look(t.Context(), toTheEnd); b.pool().known.Load() != all {
		t.Errorf("%d of %d cookies known when all ports are free", b.pool().known.Load(), all)
	}
}

// How old a cookie may get is tried with some that were saved, until one is refused.
func TestProbesFindTheAge(t *testing.T) {
	t.Parallel()
	s, b := openTimed(t, 2)
	if got := b.lifetime.refreshEvery(); got != aging/2 {
		t.Errorf("before any probe cookies are refreshed every %v", got)
	}
	s.Change(func(s *server.Server) { s.Clock = 1000 })
	b.lifetime.end()
	b.lifetime.begin(t.Context(), b.prober)
	for i, want := range []time.Duration{2 * aging, 4 * aging, 4 * aging} { // 5 s pass, and 8 * aging do not
		if b.lifetime.step(t.Context()) {
			t.Fatalf("settled before probe %d", i)
		}
		next := &b.lifetime.waiting[0]
		next.asked = time.Now().Add(-next.age)
		s.Change(func(s *server.Server) { s.Clock = 1000 + int(next.age/time.Second) })
		settled := b.lifetime.step(t.Context())
		if got := 2 * b.lifetime.refreshEvery(); got < want || got > want+aging || settled != (i == 2) {
			t.Errorf("after probe %d an age of %v is known, settled %v", i, got, settled)
		}
	}
	if _, taken, other := s.Seen(); len(taken) < 3 || len(other) < 3 { // one of probing, and what is sent again when the machine is busy
		t.Errorf("%d probes were accepted and %d aborted", len(taken), len(other))
	}
}

// A pool serves as soon as it has the cookies that were asked for, and not before.
func TestReadyWithSilentEntries(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 32)
	if err != nil {
		t.Fatal(err)
	}
	reserve := Entries(32) - 32
	for silent := reserve - 1; silent <= reserve+1; silent++ {
		s.Change(func(s *server.Server) { s.Silent = false })
		b.forget()
		for i := range silent {
			b.pool().entries[i].taken.Store(1) // the server says nothing to it: nothing is asked from it
		}
		b.pool().fill(t.Context(), toTheEnd)
		s.Change(func(s *server.Server) { s.Silent = true })
		for i := range silent {
			b.pool().entries[i].taken.Store(0)
		}
		if got, want := b.pool().fill(t.Context(), toTheEnd), silent <= reserve; got != want {
			t.Errorf("with %d silent ports, %d in reserve: ready %v", silent, reserve, got)
		}
	}
}

// A server that hears no more than some addresses is served with those, and not asked from others again.
func TestPoolOfWhatTheServerHears(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 256)
	if err != nil {
		t.Fatal(err)
	}
	s.Change(func(s *server.Server) { s.Key, s.Most = "second", 100 })
	b.forget()
	for i := range patientFills + 1 { // the first brings some
		if b.pool().fill(t.Context(), toTheEnd) != (i == patientFills) {
			t.Errorf("fill %d: ready %v, with %d cookies", i, i != patientFills, b.pool().known.Load())
		}
	}
	if got := b.pool().known.Load(); got != 100 {
		t.Errorf("%d cookies known, the server gives 100", got)
	}
	heard, _, _ := s.Seen()
	s.Change(func(s *server.Server) { s.Most = 0 })
	if !b.pool().fill(t.Context(), toTheEnd) {
		t.Error("not ready any more")
	}
	if now, _, _ := s.Seen(); now != heard {
		t.Errorf("asked %d times more for what the server does not give", now-heard)
	}
	b.forget()
	if b.pool().fill(t.Context(), toTheEnd); int(b.pool().known.Load()) != len(b.pool().entries) {
		t.Errorf("%d cookies known of a server that hears all again", b.pool().known.Load())
	}
}

// The previous secret counts for GraceTime after a rotation, and no rotation is missed.
func TestGrace(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	g := grace{clock: func() time.Time { return now }}
	k := keyring(t, 'a')
	if g.previous(k, true) != nil {
		t.Error("a previous secret without a rotation")
	}
	now = now.Add(time.Hour)
	k2 := keyring(t, 'a', 'b')
	if g.previous(k2, false) != nil {
		t.Error("the previous secret although nobody needs it")
	}
	for _, c := range []struct {
		after time.Duration
		want  *cookie.Key
	}{{0, k2.Previous()}, {GraceTime, k2.Previous()}, {1, nil}} {
		if now = now.Add(c.after); g.previous(k2, true) != c.want {
			t.Errorf("%v after the last: previous secret %v", c.after, g.previous(k2, true) != nil)
		}
	}
}

// A pool has many addresses and few ports where the server is on 127.0.0.0/8, and else the ephemeral ports of one address. No two
// entries have the same.
func TestSources(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		server      string
		several     bool
		size, ports int // of distinct ports at most
	}{
		{"127.3.4.5:4433", true, MaxPool, loopbackPorts}, {"127.0.0.1:4433", true, 8, loopbackPorts},
		{"127.0.0.1:4433", false, MaxPool, len(ephemeral()) + len(beyond())}, {"[::1]:4433", false, 1000, 1 << 16},
	} {
		server := netip.MustParseAddrPort(c.server)
		n := Entries(c.size)
		s, err := newSources(server, n, c.several)
		if err != nil {
			t.Fatal(err)
		}
		if n = min(n, s.most()); c.several && n < Entries(c.size) {
			t.Errorf("%v: %d of %d entries", server, n, Entries(c.size))
		}
		seen, ports := make(map[netip.AddrPort]bool, n), make(map[uint16]bool)
		for i := range n {
			a := s.at(i)
			if seen[a] || !a.Addr().IsLoopback() {
				t.Fatalf("%v: entry %d is %v, once more or elsewhere", server, i, a)
			}
			seen[a], ports[a.Port()] = true, true
		}
		if len(ports) > c.ports {
			t.Errorf("%v: %d ports", server, len(ports))
		}
	}
	if a, b := MaxPoolTowards(netip.MustParseAddr("192.0.2.1")), mostPorts(); a > b {
		t.Errorf("a pool of %d in %d ports", a, b)
	}
}

// A worker may have a place of a pool that the watch has just replaced. It gets no socket there, which would be closed.
func TestReplacedPoolGivesNoSockets(t *testing.T) {
	t.Parallel()
	_, b := openHeld(t, 4)
	m, k := b.NewVerifier(1), keyring(t, 'a')
	v := verdict(m, k, newHello(1), answer(t, m, k, newHello(1)))
	if !v.Verified {
		t.Fatal("not verified")
	}
	b.retire(b.pool())
	if up, err := v.Place.Open(); up != nil || err != nil {
		t.Errorf("got socket %v of a replaced pool, error %v", up, err)
	}
	if !b.pool().free(v.Place.entry) {
		t.Error("the entry, which the next pool shares, stays taken")
	}
}
