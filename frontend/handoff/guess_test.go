package handoff

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// guessing is a forger who knows every cookie that the server gives to the guard's ports.
type guessing struct {
	*harvest
	k   *cookie.Keyring
	now time.Time
}

// newGuessing makes one in front of a pool, right after a rotation. silent is how many of its ports have no cookie.
func newGuessing(t *testing.T, pool, silent int) *guessing {
	t.Helper()
	b, err := openBackend(t, server.Start(t), Harvest, pool)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // on a busy machine answers may come too late
		if b.Status().Ready {
			break
		}
		b.look(t.Context(), serving(time.Now().Add(openFor)))
	}
	for i := range silent {
		b.pool().entries[i*len(b.pool().entries)/silent].forget()
	}
	g := &guessing{harvest: b.NewVerifier(1).(*following).Verifier.(*harvest), k: keyring(t, 'a', 'b')}
	g.grace.clock = func() time.Time { return g.now }
	return g
}

// from is a ClientHello from a source by number, that has never asked.
func (g *guessing) from(i uint32) Hello {
	h := newHello(uint16(i))
	binary.BigEndian.PutUint32(h.Binding.Source[12:], i)
	return h
}

// right reports whether the cookie of a port is right in h, which is what reaches the server.
func (g *guessing) right(h Hello, port int) bool {
	var c [hello.MaxCookie]byte
	h.Cookie = c[:g.pool.entries[port].get(&c)]
	hellos := []Hello{h}
	g.Verify(g.k, hellos)
	return hellos[0].Verified
}

// allRight is how many cookies are right in h at the moment: each is tried as if it were the first.
func (g *guessing) allRight(h Hello) (n int) {
	reserved := make([]uint64, len(g.pool.entries))
	for i := range reserved {
		reserved[i] = g.pool.entries[i].reserved.Load()
	}
	for port := range g.pool.entries {
		if g.pool.entries[port].known() && g.right(h, port) {
			n++
		}
		for i := range reserved { // for a wrong one is answered with an offer, which reserves an entry
			g.pool.entries[i].reserved.Store(reserved[i])
		}
	}
	return n
}

// ask has h without a cookie, as a flood does.
func (g *guessing) ask(h Hello) { g.Verify(g.k, []Hello{h}) }

// A handshake has one cookie that is right, whatever happened before; in the grace after a rotation two, one under each secret.
func TestOneCookieIsRight(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(g *guessing, h Hello, i int){
		"never asked": func(*guessing, Hello, int) {},
		"asked":       func(g *guessing, h Hello, _ int) { g.ask(h) },
		"asked under the secret before": func(g *guessing, h Hello, _ int) {
			g.Verify(keyring(t, 'a'), []Hello{h})
		},
		"asked in a flood, again and again": func(g *guessing, h Hello, i int) {
			for j := range 8 {
				g.ask(g.from(uint32(1000 + 8*i + j)))
				g.ask(h)
				g.pool.clock.Add(1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuessing(t, 60, 2)
			for i := range 64 {
				h := g.from(uint32(i))
				before(g, h, i)
				for _, c := range []struct {
					after time.Duration // the rotation
					most  int
				}{{0, 2}, {GraceTime + 1, 1}} {
					g.k = keyring(t, 'a', 'b')
					g.ask(g.from(0)) // notices the rotation
					g.now = g.now.Add(c.after)
					if right := g.allRight(h); right < 1 || right > c.most {
						t.Fatalf("handshake %d, %v after a rotation: %d cookies are right, want %d at most", i, c.after, right, c.most)
					}
				}
			}
		})
	}
}

// The share of right guesses is one per known cookie, or two in the grace time after a rotation: 2/pool at most, also for a pool
// that lacks as many cookies as allowed.
func TestHarvestGuesses(t *testing.T) {
	t.Parallel()
	const pool, guesses = 256, 1 << 18 / share
	spared := Entries(pool) - pool
	for _, c := range []struct {
		name          string
		silent, taken int
		flood         bool
		after         time.Duration // the rotation
		right         float64       // cookies of a handshake
	}{
		{"after a rotation", 0, 0, false, 0, 2},
		{"after a rotation, in a flood", 0, 0, true, 0, 2},
		{"after a rotation, with silent ports", spared, 0, false, 0, 2},
		{"after a rotation, half in use", 0, pool / 2, false, 0, 2},
		{"later", 0, 0, false, GraceTime + 1, 1},
		{"later, in a flood", 0, 0, true, GraceTime + 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGuessing(t, pool, c.silent)
			g.ask(g.from(0))
			g.now = g.now.Add(c.after)
			var known []int
			for i := range g.pool.entries {
				if g.pool.entries[i].known() {
					known = append(known, i)
				}
			}
			for i := range c.taken {
				g.pool.entries[2*i].taken.Store(1)
				defer g.pool.entries[2*i].taken.Store(0)
			}
			right := 0
			for i := range uint32(guesses) {
				h := g.from(i)
				if c.flood {
					g.ask(h)
				}
				if g.right(h, known[int(i)%len(known)]) {
					right++
				}
			}
			mean := guesses * c.right / float64(len(known))
			t.Logf("%d of %d guesses are right, %.2f/pool", right, guesses, float64(right)/guesses*pool)
			if math.Abs(float64(right)-mean) > 6*math.Sqrt(mean) || mean > guesses*2./pool {
				t.Errorf("%d of %d guesses are right, want %.0f give or take six deviations of %.0f", right, guesses, mean, math.Sqrt(mean))
			}
		})
	}
}

// No port gets far more handshakes than others, or its cookie would be the best guess: not even one after a run of ports
// that are taken, where walks of one step each would end.
func TestPlacesAreEven(t *testing.T) {
	t.Parallel()
	g := newGuessing(t, 64, 0)
	size := len(g.pool.entries)
	for i := range size / 2 {
		g.pool.entries[i].taken.Store(1)
		defer g.pool.entries[i].taken.Store(0)
	}
	const each = 1000
	got := make(map[int]int)
	for i := range uint32(each * (size - size/2)) {
		h := g.from(i)
		got[g.expected(g.k.Current(), &h.Binding)]++
	}
	for port, n := range got {
		if n > 2*each {
			t.Errorf("port %d has %d handshakes, the mean is %d", port, n, each)
		}
	}
	if len(got) != size-size/2 {
		t.Errorf("%d ports have any, want %d", len(got), size-size/2)
	}
}
