package handoff

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/handoff/handofftest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// A forger who knows every cookie that the server gives to the guard's ports guesses right as often as the
// documentation says: choices in as many guesses as there are ports, twice that in the grace after a rotation. What is
// judged right is what reaches the server.
func TestHarvestGuesses(t *testing.T) {
	const pool, guesses = 256, 1 << 18
	s := handofftest.Start(t)
	b, err := openBackend(t, s, Harvest, pool)
	if err != nil {
		t.Fatal(err)
	}
	m := b.Mode(1).(*switching).modes[Harvest].(*harvest)
	var now time.Time
	m.grace.clock = func() time.Time { return now }
	k := keyring(t, 'a', 'b')
	for _, c := range []struct {
		name   string
		after  time.Duration // the rotation
		chance float64       // times 1/pool
	}{
		{"after a rotation", 0, 2 * choices},
		{"later", graceTime + time.Nanosecond, choices},
	} {
		now = now.Add(c.after)
		right := 0
		hellos := make([]Hello, 1)
		for i := range uint32(guesses) {
			h := newHello(uint16(i))
			binary.BigEndian.PutUint32(h.Binding.Source[12:], i) // a source that was never asked from
			var guess [hello.MaxCookie]byte
			h.Cookie = guess[:b.pool.slots[i%pool].get(&guess)]
			hellos[0] = h
			if m.Judge(k, hellos); hellos[0].Verified {
				right++
			}
		}
		mean := guesses * c.chance / pool
		t.Logf("%s: %d of %d guesses are right, %.2f/pool", c.name, right, guesses, float64(right)/guesses*pool)
		if math.Abs(float64(right)-mean) > 5*math.Sqrt(mean) {
			t.Errorf("%s: %d of %d guesses are right, want %.0f give or take five deviations of %.0f", c.name, right, guesses, mean, math.Sqrt(mean))
		}
	}
}
