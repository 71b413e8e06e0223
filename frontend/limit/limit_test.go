package limit

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

const second = int64(1e9)

func address(s string) *[16]byte { a := netip.MustParseAddr(s).As16(); return &a }

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

func TestTokensAreKept(t *testing.T) {
	var b Bucket
	r := Rate{PerSecond: 10, Burst: 20}
	n := 0
	for b.TakeAbove(r, 15, second) {
		n++
	}
	if n != 5 {
		t.Errorf("%d tokens above 15 of 20", n)
	}
	b.Untake(r)
	if !b.TakeAbove(r, 15, second) || b.TakeAbove(r, 15, second) {
		t.Error("the token that was put back is not there, or more than that")
	}
	if !b.Take(r, second) {
		t.Error("none of the 15 is left")
	}
}

func TestSourcesAndPrefixes(t *testing.T) {
	for _, c := range []struct {
		a, b           string
		source, prefix bool
	}{
		{"198.51.100.1", "198.51.100.1", true, true},
		{"198.51.100.1", "198.51.100.2", false, true},
		{"198.51.100.1", "198.51.101.1", false, false},
		{"2001:db8::1", "2001:db8::ffff", true, true},
		{"2001:db8::1", "2001:db8:0:1::1", false, true},
		{"2001:db8::1", "2001:db8:1::1", false, false},
	} {
		a, b := address(c.a), address(c.b)
		if got := string(Source(a)) == string(Source(b)); got != c.source {
			t.Errorf("%s and %s are one source: %v", c.a, c.b, got)
		}
		if got := string(Prefix(a)) == string(Prefix(b)); got != c.prefix {
			t.Errorf("%s and %s have one prefix: %v", c.a, c.b, got)
		}
	}
}

// 300 clients behind one address, all at once and again as RFC 6347 section 4.2.4.1 has them retransmit, beside one
// that asks all the time.
func TestClientsBehindOneAddressAreServed(t *testing.T) {
	l := NewHellos(DefaultSource, Rate{})
	nat := address("198.51.100.1")
	served := make(map[uint16]bool)
	greedy := 0
	for tick := range int64(1000) { // of 10 ms
		now := second + tick*second/100
		for range 10 {
			if l.Take(nat, 1, now) == Within {
				greedy++
			}
		}
		for port := uint16(1000); port < 1300; port++ {
			if tick == 0 || !served[port] && (tick == 100 || tick == 300 || tick == 700) {
				served[port] = l.Take(nat, port, now) == Within
			}
		}
	}
	for port, ok := range served {
		if !ok {
			t.Errorf("port %d is not served within 10 s", port)
		}
	}
	if most := portRate.Burst + 10*int(portRate.PerSecond); greedy > most {
		t.Errorf("one port got %d tokens in 10 s, want %d at most", greedy, most)
	}
}

// With a rate for the service, a second's worth may come at once; and guesses that are right, each from another prefix,
// leave clients from known prefixes theirs.
func TestServiceRate(t *testing.T) {
	const rate = 40
	l := NewHellos(Rate{}, Rate{PerSecond: rate})
	home := address("198.51.100.1")
	burst := 0
	for l.Take(home, 1, second) == Within {
		burst++
	}
	if burst < rate/2 {
		t.Errorf("%d at once, want half a second's worth for one prefix", burst)
	}
	for i := 2; l.Take(address(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}).String()), 1, second) == Within; i++ {
		burst++
	}
	if want := rate * 3 / 4; burst != want {
		t.Errorf("%d at once from strangers, want %d", burst, want)
	}
	l.Finished(home, second)
	taken, asked := 0, 0
	for ms := int64(2000); ms < 12000; ms++ {
		now := ms * second / 1000
		for range 10 { // 10 000 right guesses per second
			var spoofed [16]byte
			spoofed[10], spoofed[11] = 0xff, 0xff
			for i := 12; i < 16; i++ {
				spoofed[i] = byte(rand.Uint32())
			}
			l.Take(&spoofed, 1, now)
		}
		if ms%500 == 0 { // 2 per second, less than an eighth of 40
			asked++
			if l.Take(home, 1, now) == Within {
				taken++
			}
		}
	}
	if taken != asked {
		t.Errorf("%d of %d ClientHellos of a known prefix got a token during guesses", taken, asked)
	}
}

// A ClientHello that the service's rate stops does not cost its source.
func TestNoTokenIsTakenInVain(t *testing.T) {
	l := NewHellos(Rate{PerSecond: 1, Burst: 4}, Rate{PerSecond: 0.001, Burst: 1})
	ip := address("198.51.100.1")
	if l.Take(ip, 1, second) != Within {
		t.Fatal("the first has no token")
	}
	for range 20 {
		if o := l.Take(ip, 1, second); o != OverService {
			t.Fatalf("%d, want over the service's rate", o)
		}
	}
}

func TestTakeDoesNotAllocate(t *testing.T) {
	l := NewHellos(Rate{PerSecond: 10, Burst: 20}, Rate{PerSecond: 10})
	ip := address("2001:db8::1")
	var now int64
	if n := testing.AllocsPerRun(100, func() { now++; l.Take(ip, 1, now); l.Finished(ip, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
