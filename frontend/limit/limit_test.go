package limit

import (
	"net/netip"
	"testing"
)

const second = int64(1e9)

func TestBucketIsBurstThenRate(t *testing.T) {
	var b Bucket
	r := Rate{PerSecond: 10, Burst: 20}
	taken := func(now int64, tries int) (n int) {
		for range tries {
			if b.Take(r, now) {
				n++
			}
		}
		return n
	}
	if n := taken(1000*second, 100); n != 20 {
		t.Errorf("burst of %d, want 20", n)
	}
	if n := taken(1001*second, 100); n != 10 {
		t.Errorf("%d after a second, want 10", n)
	}
	if n := taken(2000*second, 100); n != 20 {
		t.Errorf("%d after a long pause, want 20", n)
	}
	for range 100 {
		if !b.Take(Rate{}, 0) {
			t.Fatal("no limit limits")
		}
	}
}

func TestTablePrefixes(t *testing.T) {
	ip := func(s string) *[16]byte { a := netip.MustParseAddr(s).As16(); return &a }
	for _, c := range []struct {
		a, b   string
		shared bool
	}{
		{"198.51.100.1", "198.51.100.1", true},
		{"198.51.100.1", "198.51.100.2", false},
		{"2001:db8::1", "2001:db8::ffff", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
	} {
		tab := NewTable(Rate{PerSecond: 1, Burst: 1})
		if !tab.Take(ip(c.a), second) {
			t.Fatalf("%s: no first token", c.a)
		}
		// Two prefixes fall on one bucket by chance once in 65536 runs.
		if got := !tab.Take(ip(c.b), second); got != c.shared {
			t.Errorf("%s and %s share a bucket: %v, want %v", c.a, c.b, got, c.shared)
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	tab := NewTable(Rate{PerSecond: 10, Burst: 20})
	ip := netip.MustParseAddr("2001:db8::1").As16()
	var now int64
	if n := testing.AllocsPerRun(100, func() { now++; tab.Take(&ip, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
