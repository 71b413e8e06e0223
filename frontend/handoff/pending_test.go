package handoff

import (
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// openHeld opens a back end whose cookies each belong to a connection.
func openHeld(t *testing.T, pool int) (*server.Server, *Backend) {
	t.Helper()
	s := server.Start(t)
	s.Change(func(s *server.Server) { s.Counts, s.PerConnection = true, true })
	b, err := openBackend(t, s, Auto, pool)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Ready() || !b.pool().pending {
		t.Fatalf("ready %v, held %v", b.Ready(), b.pool().pending)
	}
	return s, b
}

// taken reports whether the server accepts the cookie c from the port of v within the given time, and releases the port.
func taken(t *testing.T, b *Backend, v *Hello, c []byte, within time.Duration) bool {
	t.Helper()
	up := take(t, v)
	if up == nil {
		t.Fatalf("got %+v", v)
	}
	defer up.Release()
	return accepted(t, b, up, &hello.Probe{Cookie: c, MessageSeq: 1, RecordSeq: 1}, within)
}

// The server takes a cookie once, and then another one is asked for.
func TestHeldCookieIsTakenOnce(t *testing.T) {
	t.Parallel()
	_, b := openHeld(t, 4)
	m, k := b.NewVerifier(1), keyring(t, 'a')
	all := b.pool().known.Load()
	for i := range uint16(8) { // twice as many as entries
		c := answer(t, m, k, newHello(i))
		v := verdict(m, k, newHello(i), c)
		if !taken(t, b, &v, c, acceptTime) {
			t.Fatalf("client %d is refused", i)
		}
		if now := b.pool().known.Load(); now != all-1 {
			t.Fatalf("%d of %d cookies known after one was used", now, all)
		}
		if verdict(m, k, newHello(i), c).Verified {
			t.Fatal("a cookie is taken twice")
		}
		if b.look(t.Context(), toTheEnd); b.pool().known.Load() != all {
			t.Fatal("no new cookie was asked for")
		}
	}
}

// Cookies are renewed before the server drops them, but not while a client may bring them, unless they get too old.
func TestHeldCookiesAreRenewed(t *testing.T) {
	t.Parallel()
	_, b := openHeld(t, 4)
	m, k := b.NewVerifier(1), keyring(t, 'a')
	c := answer(t, m, k, newHello(1))
	age := func(d time.Duration) {
		for i := range b.pool().left {
			b.pool().left[i].Store(time.Now().Add(-d).UnixNano())
		}
	}
	all := b.pool().known.Load()
	for _, step := range []struct {
		age  time.Duration
		want int32 // of the cookies that were known
	}{{pendingFor / 2, all}, {pendingFor + time.Second, 1}, {2*pendingFor + time.Second, 0}} {
		age(step.age)
		if b.pool().renew(time.Now()); b.pool().known.Load() != step.want {
			t.Fatalf("at an age of %v %d cookies are kept, want %d", step.age, b.pool().known.Load(), step.want)
		}
		if step.want == 1 {
			if v := verdict(m, k, newHello(1), c); !taken(t, b, &v, c, acceptTime) {
				t.Error("the client that was offered one is refused")
			}
		}
		b.look(t.Context(), toTheEnd)
	}
	if c2 := answer(t, m, k, newHello(1)); string(c2) == string(c) {
		t.Error("the old cookie is still given")
	}
}

// A server that restarted unnoticed is asked again when it does not accept a client.
func TestPendingCookiesAreRechecked(t *testing.T) {
	t.Parallel()
	s, b := openHeld(t, 4)
	m, k := b.NewVerifier(1), keyring(t, 'a')
	s.Change(func(s *server.Server) { s.Key = "second" })
	c := answer(t, m, k, newHello(1))
	if v := verdict(m, k, newHello(1), c); taken(t, b, &v, c, answerTime) {
		t.Fatal("another server takes the cookie")
	}
	b.Recheck(Unanswered)
	b.began = time.Now().Add(-recheckEvery - time.Second)
	b.look(t.Context(), toTheEnd)
	c = answer(t, m, k, newHello(2))
	if v := verdict(m, k, newHello(2), c); !taken(t, b, &v, c, acceptTime) {
		t.Error("the new server's cookie is not known")
	}
}

// A pool that the server could not keep is refused.
func TestHeldPoolIsBounded(t *testing.T) {
	t.Parallel()
	s := server.Start(t)
	s.Change(func(s *server.Server) { s.Counts, s.PerConnection = true, true })
	if _, err := openBackend(t, s, Auto, pendingMost+1); err == nil {
		t.Error("a pool of any size is taken")
	}
}
