package handoff

import "testing"

// Clients that are all between their ClientHellos have a port each; asking again changes nothing, nor does a flood that
// comes meanwhile.
func TestClientsAtOnceHaveAPortEach(t *testing.T) {
	t.Parallel()
	const clients = 16
	g := newGuessing(t, 64, 0)
	cookies := make(map[string]uint16)
	for i := range uint16(clients) {
		cookies[string(answer(t, g, g.k, newHello(i)))] = i
	}
	if len(cookies) != clients {
		t.Errorf("%d cookies for %d clients", len(cookies), clients)
	}
	for i := range uint32(1000) {
		g.ask(g.from(1000 + i))
	}
	for c, i := range cookies {
		if again := answer(t, g, g.k, newHello(i)); string(again) != c {
			t.Errorf("client %d is given another cookie when it asks again", i)
		}
		v := verdict(g, g.k, newHello(i), []byte(c))
		up := take(t, &v)
		if up == nil {
			t.Errorf("client %d has lost its port", i)
			continue
		}
		defer up.Release()
	}
}

// A port is reserved for the client that was offered it, for a time.
func TestReservation(t *testing.T) {
	t.Parallel()
	now := ^uint32(0) - 1 // the clock may run over
	for _, c := range []struct {
		name        string
		holder, at  uint32
		is, heldNow bool
	}{
		{"its holder", 7, now, true, true},
		{"another at once", 8, now, false, true},
		{"another late", 8, now + reservation - 1, false, true},
		{"another afterwards", 8, now + reservation, true, false},
		{"its holder afterwards", 7, now + 10*reservation, true, true},
	} {
		var s Entry
		if !s.reserve(7, now) {
			t.Fatal("a free port is kept for somebody")
		}
		if got := s.reserve(c.holder, c.at); got != c.is || s.heldBy(7) != c.heldNow {
			t.Errorf("%s: reserved %v, still held %v", c.name, got, s.heldBy(7))
		}
	}
}
