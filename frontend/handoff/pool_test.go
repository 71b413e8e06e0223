package handoff

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
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
	if tr := b.traits.Load(); b.Mode() != Harvest || !tr.Timed || !tr.OldTaken {
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
	b.trials.end()
	b.trials.passed.Store(int64(2 * young))
	given, free, busy := 0, 1, b.pool.ports[2]
	b.pool.slots[given].reserve(7, b.pool.clock.Load())
	busy.Acquire()
	all := int32(len(b.pool.ports))
	cookieOf := func(i int) (c [hello.MaxCookie]byte) { b.pool.slots[i].get(&c); return c }
	age := func(d time.Duration) {
		for i := range b.pool.asked {
			b.pool.asked[i] = time.Now().Add(-d)
		}
	}
	for _, step := range []struct {
		age                    time.Duration
		given, free, busyKnown bool // refreshed, refreshed, known
	}{{young / 2, false, false, true}, {young + young/8, false, true, false}, {young + young/2, true, true, false}} {
		age(step.age)
		s.Change(func(s *server.Server) { s.Clock++ })
		beforeGiven, beforeFree := cookieOf(given), cookieOf(free)
		b.watch(t.Context())
		if got := cookieOf(given) != beforeGiven; got != step.given {
			t.Errorf("at an age of %v that of a client under way was asked for anew: %v", step.age, got)
		}
		if got := cookieOf(free) != beforeFree; got != step.free {
			t.Errorf("at an age of %v one was asked for anew: %v", step.age, got)
		}
		if got := b.pool.slots[2].known(); got != step.busyKnown || !b.Ready() {
			t.Errorf("at an age of %v that of the busy port is known: %v, ready %v", step.age, got, b.Ready())
		}
	}
	b.pool.forgetOne(free)
	age(2 * young)
	if b.pool.refresh(t.Context(), young); b.pool.slots[free].known() {
		t.Error("one that is not known was asked for by refresh, and would be by fill again")
	}
	busy.Release()
	if b.watch(t.Context()); b.pool.known.Load() != all {
		t.Errorf("%d of %d cookies known when all ports are free", b.pool.known.Load(), all)
	}
}

// How old a cookie may get is tried with some that were put by, until one is refused.
func TestTrialsFindTheAge(t *testing.T) {
	t.Parallel()
	s, b := openTimed(t, 2)
	if got := b.trials.refreshEvery(); got != aging/2 {
		t.Errorf("before any trial cookies are asked for again every %v", got)
	}
	s.Change(func(s *server.Server) { s.Clock = 1000 })
	b.trials.end()
	b.trials.begin(t.Context(), b.prober)
	for i, want := range []time.Duration{2 * aging, 4 * aging, 4 * aging} { // 5 s pass, and 8 * aging do not
		if b.trials.step(t.Context()) {
			t.Fatalf("settled before trial %d", i)
		}
		next := &b.trials.waiting[0]
		next.asked = time.Now().Add(-next.age)
		s.Change(func(s *server.Server) { s.Clock = 1000 + int(next.age/time.Second) })
		settled := b.trials.step(t.Context())
		if got := 2 * b.trials.refreshEvery(); got < want || got > want+aging || settled != (i == 2) {
			t.Errorf("after trial %d an age of %v is known, settled %v", i, got, settled)
		}
	}
	if _, taken, other := s.Seen(); len(taken) != 3 || len(other) != 3 { // one of probing
		t.Errorf("%d trials were taken and %d called off", len(taken), len(other))
	}
}

// A pool serves as soon as it has the cookies that were asked for, and not before.
func TestReadyWithSilentPorts(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	b, err := openBackend(t, s, Harvest, 32)
	if err != nil {
		t.Fatal(err)
	}
	reserve := Ports(32) - 32
	for silent := reserve - 1; silent <= reserve+1; silent++ {
		s.Change(func(s *server.Server) { s.Silent = false })
		b.forget()
		for i := range silent {
			b.pool.ports[i].Acquire() // the server says nothing to it: nothing is asked from it
		}
		b.pool.fill(t.Context())
		s.Change(func(s *server.Server) { s.Silent = true })
		for i := range silent {
			b.pool.ports[i].Release()
		}
		if got, want := b.pool.fill(t.Context()), silent <= reserve; got != want {
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
		if b.pool.fill(t.Context()) != (i == patientFills) {
			t.Errorf("fill %d: ready %v, with %d cookies", i, i != patientFills, b.pool.known.Load())
		}
	}
	if got := b.pool.known.Load(); got != 100 {
		t.Errorf("%d cookies known, the server gives 100", got)
	}
	heard, _, _ := s.Seen()
	s.Change(func(s *server.Server) { s.Most = 0 })
	if !b.pool.fill(t.Context()) {
		t.Error("not ready any more")
	}
	if now, _, _ := s.Seen(); now != heard {
		t.Errorf("asked %d times more for what the server does not give", now-heard)
	}
	b.forget()
	if b.pool.fill(t.Context()); int(b.pool.known.Load()) != len(b.pool.ports) {
		t.Errorf("%d cookies known of a server that hears all again", b.pool.known.Load())
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

// A pool may be larger than the ephemeral ports of one address where the server is on 127.0.0.0/8.
func TestPoolOfSeveralAddresses(t *testing.T) {
	t.Parallel()
	loopback, other := netip.MustParseAddr("127.3.4.5"), netip.MustParseAddr("192.0.2.1")
	if got := SourcesOf(loopback); got < 2 {
		t.Errorf("%d sources towards loopback", got)
	}
	if SourcesOf(other) != 1 || SourcesOf(netip.MustParseAddr("::1")) != 1 {
		t.Error("several sources towards an address that is not of 127.0.0.0/8")
	}
	seen := make(map[netip.Addr]bool)
	for n := range SourcesOf(loopback) {
		first, last := sourceOf(n*PortsPerAddress, loopback), sourceOf((n+1)*PortsPerAddress-1, loopback)
		if first != last || seen[first.Addr()] || sourceOf(n*PortsPerAddress, other).IsValid() {
			t.Errorf("ports %d to %d are from %v and %v", n*PortsPerAddress, (n+1)*PortsPerAddress-1, first, last)
		}
		seen[first.Addr()] = true
	}
	for _, a := range []netip.Addr{loopback, other} {
		if ports := Ports(MaxPool(a)); ports > PortsPerAddress*SourcesOf(a)+100 { // of 232 that are left
			t.Errorf("the largest pool towards %v has %d ports", a, ports)
		}
	}
	// What the server sees of a port beyond the first address, and gives a cookie to.
	s := server.Start(t)
	source := sourceOf(PortsPerAddress, s.Addr().Addr())
	b, err := Open(t.Context(), Config{Server: s.Addr(), Pool: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := udpbatch.DialFrom(source, s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Local().Addr() != source.Addr() {
		t.Errorf("bound to %v, want %v", c.Local(), source)
	}
	if a, err := b.prober.ask(t.Context(), c, 5*time.Second, b.pool.question); err != nil || a.cookie == nil {
		t.Errorf("asked from %v: %+v, %v", c.Local(), a, err)
	}
}
