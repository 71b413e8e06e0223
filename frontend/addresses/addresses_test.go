package addresses

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

func ip(text string) *[16]byte {
	b := netip.MustParseAddr(text).As16()
	return &b
}

func TestSet(t *testing.T) {
	s := NewSet([2]uint64{1}, 600)
	for _, a := range []string{"192.0.2.1", "2001:db8::1", "::1"} {
		if s.Has(ip(a), 5) {
			t.Errorf("%s is there before it proved itself", a)
		}
		if !s.Add(ip(a), 7, 5) || s.Add(ip(a), 7, 5) || !s.Add(ip(a), 8, 5) {
			t.Errorf("%s: a mark is not new exactly once", a)
		}
		if !s.Has(ip(a), 5) || !s.Has(ip(a), 604) || s.Has(ip(a), 605) {
			t.Errorf("%s does not live for its lifetime", a)
		}
	}
	if !s.Has(ip("2001:db8::ffff"), 5) || s.Has(ip("2001:db8:0:1::1"), 5) || s.Has(ip("192.0.2.2"), 5) {
		t.Error("IPv6 does not count by /64, IPv4 by address")
	}
	s.Refresh(ip("192.0.2.1"), 300)
	s.Refresh(ip("192.0.2.9"), 300)
	if !s.Has(ip("192.0.2.1"), 700) || s.Has(ip("192.0.2.9"), 300) || s.Len(700) != 1 {
		t.Error("Refresh keeps what was not there, or forgets what was")
	}
	s.Refresh(ip("192.0.2.1"), 1000)
	if s.Has(ip("192.0.2.1"), 1000) {
		t.Error("Refresh brings back what had ended")
	}
	if n := s.Remove(netip.MustParsePrefix("2001:db8::/32")); n != 1 || s.Has(ip("2001:db8::1"), 5) || !s.Has(ip("::1"), 5) {
		t.Errorf("removed %d", n)
	}
	for a := range s.All(5) {
		if a.Prefix != netip.MustParsePrefix("::/64") && a.Prefix != netip.MustParsePrefix("192.0.2.1/32") {
			t.Errorf("listed: %+v", a)
		}
	}
}

// Whatever comes, the set stays of its size, and keeps whom it saw last.
func TestSetForgetsTheOldest(t *testing.T) {
	s := NewSet([2]uint64{3}, 600)
	r := rand.New(rand.NewPCG(1, 1))
	var a [16]byte
	for i := range uint32(4 * DefaultSize) {
		a = [16]byte{10: 0xff, 11: 0xff, 12: byte(r.Uint32()), 13: byte(r.Uint32()), 14: byte(r.Uint32()), 15: byte(r.Uint32())}
		s.Add(&a, 0, 100+i>>12)
		if !s.Has(&a, 100+i>>12) {
			t.Fatal("the last one is not there")
		}
	}
	if n := s.Len(200); n > DefaultSize || n < DefaultSize*9/10 {
		t.Errorf("%d of %d addresses", n, DefaultSize)
	}
}

// One site of IPv6 has 65 536 networks, each with addresses that prove themselves. Those of others stay.
func TestOneSiteFillsItsShareOnly(t *testing.T) {
	s := NewSet([2]uint64{3}, 600)
	var others [2000]*[16]byte
	for i := range others {
		others[i] = ip(fmt.Sprintf("198.18.%d.%d", i>>8, i&255))
		if i%2 == 0 {
			others[i] = ip(fmt.Sprintf("2001:db8:%x:%x::1", i, i&0xff<<8)) // as of providers that give each customer a /56
		}
		s.Add(others[i], 1, 100)
	}
	site := *ip("2001:db8:ffff::")
	for range 4 {
		for n := range 1 << 16 {
			site[6], site[7] = byte(n>>8), byte(n)
			s.Add(&site, 1, 101)
		}
	}
	lost := 0
	for _, a := range others {
		if !s.Has(a, 102) {
			lost++
		}
	}
	if most := len(others) / 40; lost > most { // a 128th, and some by chance
		t.Errorf("%d of %d other addresses displaced, want at most %d", lost, len(others), most)
	}
	if n := s.Remove(netip.MustParsePrefix("2001:db8:ffff::/48")); n != 64*ways {
		t.Errorf("%d addresses of one site, want %d", n, 64*ways)
	}
	// Customers with a /56 each do not share one bucket.
	for n := range 256 {
		site[6], site[7] = byte(n), 0
		s.Add(&site, 1, 101)
	}
	if n := s.Remove(netip.MustParsePrefix("2001:db8:ffff::/48")); n < 250 {
		t.Errorf("%d addresses of 256 customers of one site", n)
	}
}

// What is said of all of IPv6 is not said of IPv4.
func TestPrefixesOfIPv6MeanIPv6(t *testing.T) {
	for _, p := range []string{"::/0", "::/64", "::/80"} {
		table := NewTable(map[netip.Prefix]Verdict{netip.MustParsePrefix(p): Allow})
		if v := table.Of(ip("192.0.2.1")); v != None {
			t.Errorf("192.0.2.1 with %s allowed: %v", p, v)
		}
		if v := table.Of(ip("::7")); v != Allow {
			t.Errorf("::7 with %s allowed: %v", p, v)
		}
	}
	table := NewTable(map[netip.Prefix]Verdict{netip.MustParsePrefix("::/0"): Deny, netip.MustParsePrefix("0.0.0.0/0"): Allow})
	if table.Of(ip("192.0.2.1")) != Allow || table.Of(ip("2001:db8::1")) != Deny {
		t.Error("both families are not told apart")
	}
}

func TestTableIsLongestMatch(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for range 300 {
		rules := make(map[netip.Prefix]Verdict)
		for range r.IntN(12) {
			a := netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(2)), byte(r.Uint32())})
			p := netip.PrefixFrom(a, 20+r.IntN(13)).Masked()
			if r.IntN(3) == 0 {
				p = netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(3), r.IntN(4))), []int{0, 32, 48, 64, 127, 128}[r.IntN(6)]).Masked()
			}
			rules[p] = Verdict(1 + r.IntN(2))
		}
		table := NewTable(rules)
		for range 300 {
			a := netip.AddrFrom4([4]byte{192, 0, byte(r.IntN(3)), byte(r.Uint32())})
			if r.IntN(2) == 0 {
				a = netip.MustParseAddr(fmt.Sprintf("2001:db8:%x::%x", r.IntN(4), r.IntN(5)))
			}
			want, bits := None, -1
			for p, v := range rules {
				if p.Contains(a) && bits128(p) > bits { // no IPv4 address is in a prefix of IPv6
					want, bits = v, bits128(p)
				}
			}
			b := a.As16()
			if got := table.Of(&b); got != want {
				t.Fatalf("%v in %v: %v, want %v", a, rules, got, want)
			}
		}
	}
}

func gate(p Policy) *Gate {
	p.Rate = limit.Rate{PerSecond: 50, Burst: 50}
	return NewGate(NewSet([2]uint64{1}, 600), new(atomic.Pointer[Table]), p)
}

func TestGateAlways(t *testing.T) {
	g := gate(Policy{})
	a, now := ip("192.0.2.1"), int64(100e9)
	if o := g.Admit(a, now); o != Challenge || g.Engaged(now) {
		t.Errorf("an unproved address: %v", o)
	}
	g.Prove(a, 1, now)
	if o := g.Admit(a, now+599e9); o != Known {
		t.Errorf("a proved address: %v", o)
	}
	if o := g.Admit(a, now+601e9); o != Challenge {
		t.Errorf("after its lifetime: %v", o)
	}
	g.Table.Store(NewTable(map[netip.Prefix]Verdict{netip.MustParsePrefix("192.0.2.0/24"): Deny, netip.MustParsePrefix("192.0.2.8/32"): Allow}))
	if g.Admit(a, now) != Denied || g.Admit(ip("192.0.2.8"), now) != Known || g.Admit(ip("192.0.3.8"), now) != Challenge {
		t.Error("the lists are not kept to")
	}
}

// flood sends n ClientHellos within a second, of so many networks, and returns what became of them.
func flood(admit func(*[16]byte, int64) Outcome, n, nets int, from int64) map[Outcome]int {
	got := make(map[Outcome]int)
	for i := range n {
		got[admit(ip(fmt.Sprintf("10.%d.%d.%d", i%nets/256, i%nets%256, i%250)), from+int64(i)*1e9/int64(n))]++
	}
	return got
}

func TestGateEngagesUnderLoad(t *testing.T) {
	g := gate(Policy{Engage: Load})
	now := int64(1000e9)
	if got := flood(g.Admit, 40, 40, now); got[Unproved] != 40 || g.Engaged(now+1e9) {
		t.Errorf("40 in a second: %v", got)
	}
	now += 10e9
	// One network alone is challenged above its share, and nobody else for it.
	if got := flood(g.Admit, 500, 1, now); got[Unproved] > 25 || got[Challenge] < 475 || g.Engaged(now+1e9) {
		t.Errorf("500 of one network: %v", got)
	}
	now += 10e9
	if got := flood(g.Admit, 2000, 1000, now); got[Unproved] > 101 || !g.Engaged(now+1e9) || g.Times() != 1 {
		t.Errorf("2000 of 1000 networks: %v, engaged %d times", got, g.Times())
	}
	if o := g.Admit(ip("198.51.100.1"), now+5e9); o != Challenge {
		t.Errorf("4 s after the flood: %v", o)
	}
	if o := g.Admit(ip("198.51.100.1"), now+12e9); o != Unproved || g.Engaged(now+12e9) {
		t.Errorf("11 s after the flood: %v", o)
	}
}

// What the programs have decided to challenge does not get the rate a second time.
func TestGateOfTheChallenged(t *testing.T) {
	g := gate(Policy{Engage: Load, Challenged: true})
	now := int64(1000e9)
	if got := flood(g.Admit, 40, 40, now); got[Challenge] != 40 || g.Engaged(now) {
		t.Errorf("%v", got)
	}
	g.Prove(ip("203.0.113.1"), 0, now)
	if o := g.Admit(ip("203.0.113.1"), now+1e9); o != Known {
		t.Errorf("a known address: %v", o)
	}
}

func TestGateLimits(t *testing.T) {
	g := gate(Policy{})
	now := int64(1000e9)
	got := flood(g.Limit, 2000, 1000, now)
	if got[Unproved] > 101 || got[Unproved] < 50 || got[Limited] != 2000-got[Unproved] {
		t.Errorf("2000 in a second: %v", got)
	}
	g.Prove(ip("203.0.113.1"), 0, now)
	if o := g.Limit(ip("203.0.113.1"), now+1e9); o != Known {
		t.Errorf("a known address during a flood: %v", o)
	}
}

func TestAdmitDoesNotAllocate(t *testing.T) {
	g := gate(Policy{Engage: Load})
	g.Table.Store(NewTable(map[netip.Prefix]Verdict{netip.MustParsePrefix("192.0.2.0/24"): Deny}))
	a, now := ip("198.51.100.1"), int64(100e9)
	if n := testing.AllocsPerRun(100, func() {
		now += 1e9
		g.Admit(a, now)
		g.Prove(a, 1, now)
		g.Set.Refresh(a, Seconds(now))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmit(b *testing.B) {
	g := gate(Policy{})
	a := *ip("192.0.2.1")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a[14], a[15] = byte(i>>8), byte(i)
		g.Admit(&a, int64(i))
	}
}
