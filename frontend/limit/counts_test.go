package limit

import (
	"math/rand/v2"
	"testing"
)

// Against a map, with keys that all want the same few places.
func TestCountsAreExact(t *testing.T) {
	const flows = 64
	c, want := NewCounts(flows), make(map[uint64]Count)
	key := func() uint64 { return uint64(rand.IntN(40))<<33 | uint64(rand.IntN(3))<<1 | 1 }
	total := 0
	for range 200000 {
		k := key()
		w := want[k]
		switch {
		case total < flows && rand.IntN(2) == 0:
			if !c.Add(k, 1, 1) {
				t.Fatalf("no room for %d flows of %d keys", total, len(want))
			}
			want[k] = Count{w.Flows + 1, w.HalfOpen + 1}
			total++
		case w.HalfOpen > 0 && rand.IntN(2) == 0:
			c.Add(k, 0, -1)
			want[k] = Count{w.Flows, w.HalfOpen - 1}
		case w.Flows > w.HalfOpen:
			c.Add(k, -1, 0)
			if want[k] = (Count{w.Flows - 1, w.HalfOpen}); want[k] == (Count{}) {
				delete(want, k)
			}
			total--
		}
	}
	for k, w := range want {
		if got := c.Get(k); got != w {
			t.Errorf("key %#x: %+v, want %+v", k, got, w)
		}
	}
	if c.used != len(want) {
		t.Errorf("%d entries are in use, want %d", c.used, len(want))
	}
}

func TestCountsStayWithinTheirMemory(t *testing.T) {
	c := NewCounts(100)
	n := 0
	for k := uint64(1); c.Add(k<<1, 1, 0); k++ {
		n++
	}
	if n < 100 {
		t.Errorf("room for %d keys, want 100", n)
	}
	if a := testing.AllocsPerRun(100, func() { c.Add(2, 1, 1); c.Get(2); c.Add(2, -1, -1) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

// What was not counted for want of room is not taken off, or its key would have four thousand million flows.
func TestCountsOfTheUncounted(t *testing.T) {
	c := NewCounts(8)
	if !c.Add(2, -1, -1) || c.Get(2) != (Count{}) || c.used != 0 {
		t.Errorf("%+v, %d entries", c.Get(2), c.used)
	}
}

func BenchmarkCounts(b *testing.B) {
	c, key := NewCounts(65536), NewKey()
	var ip [16]byte
	for b.Loop() {
		ip[15]++
		ip[14] += ip[15] >> 7
		h := key.Of(ip[:])
		c.Add(h, 1, 1)
		c.Get(h)
		c.Add(h, -1, -1)
	}
}
