package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

const overHalfOpen = "drop-half-open reason:hello cookie:valid"

// limiting returns a guard of an inline service with a limit of half-open flows per source.
func limiting(t *testing.T, perSource int) *Programs {
	t.Helper()
	g := guarding(t, inline())
	if err := g.SetPolicy(Policy{Handshake: time.Hour, HalfOpenPerSource: perSource}); err != nil {
		t.Fatal(err)
	}
	return g
}

// verifiedFrom is a ClientHello with a valid cookie.
func verifiedFrom(client netip.AddrPort) *packet {
	p := newPacket(nil)
	if client.Addr().Is6() {
		p = newPacket6(nil)
	}
	p.Src = client
	p.Payload = second(testRing.Current(), client, 4433)
	return p
}

// begun counts the handshakes that pass before one is refused.
func begun(t *testing.T, g *Programs, most int, client func(i int) netip.AddrPort) (n int) {
	t.Helper()
	for ; n < most; n++ {
		if action, _ := run(t, g, verifiedFrom(client(n)).bytes()); action != xdpPass {
			check(t, g, "over the budget", step{verifiedFrom(client(n)), xdpDrop, overHalfOpen})
			return n
		}
	}
	return n
}

func ports(a string) func(i int) netip.AddrPort {
	return func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(a), uint16(1000+i)) }
}

// One source, or one prefix with many, has a limited number of half-open flows; others are served meanwhile, and so is the
// source again when a handshake is finished.
func TestHalfOpenBudgetsOfSources(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	one := ports("198.18.1.1")
	if n := begun(t, g, 100, one); n != limit*halfOpenRoom {
		t.Errorf("a source begins %d handshakes, want %d", n, limit*halfOpenRoom)
	}
	check(t, g, "another source", step{verifiedFrom(one(0)), xdpPass, valid}, // a retransmission
		step{verifiedFrom(ports("198.18.1.2")(0)), xdpPass, valid}, step{verifiedFrom(ports("2001:db8::1")(0)), xdpPass, valid})
	send(t, g, back(from(newPacket(appData), one(3))))
	check(t, g, "one is finished", step{verifiedFrom(one(100)), xdpPass, valid}, step{verifiedFrom(one(101)), xdpDrop, overHalfOpen})
	send(t, g, back(from(newPacket(appData), one(3))))
	check(t, g, "and goes on", step{verifiedFrom(one(101)), xdpDrop, overHalfOpen})

	for name, host := range map[string]func(i int) netip.AddrPort{
		"an IPv4 /24": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 9, byte(i)}), uint16(1+i))
		},
		"an IPv6 /48": func(i int) netip.AddrPort {
			a := netip.MustParseAddr("2001:db8:9::").As16()
			a[6], a[7] = byte(i>>8), byte(i)
			return netip.AddrPortFrom(netip.AddrFrom16(a), 1)
		},
	} {
		const want = limit * prefixHalfOpen * halfOpenRoom
		g = limiting(t, limit)
		if n := begun(t, g, 1000, host); n != want {
			t.Errorf("%s begins %d handshakes, want %d", name, n, want)
		}
		check(t, g, "others", step{verifiedFrom(ports("198.18.10.1")(0)), xdpPass, valid}, step{verifiedFrom(ports("2001:db8:a::1")(0)), xdpPass, valid})
	}
}

// When half of all are in use, a source gets its limit and no more.
func TestHalfOpenBudgetsInShort(t *testing.T) {
	const limit = 4
	want := [2]int{limit, limit}
	// A source that shares a bucket with one of the crowd, 1 in 64, gets less: then the next guard, with another hash, decides.
	for range 3 {
		g := limiting(t, limit)
		crowd := func(i int) netip.AddrPort { // each from a prefix of its own
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 1)
		}
		half := g.options.halfOpen() / 2
		if n := begun(t, g, half, crowd); n != half {
			t.Fatalf("%d of %d clients from everywhere", n, half)
		}
		got := [2]int{begun(t, g, 100, ports("198.18.1.1")), begun(t, g, 100, ports("2001:db8::1"))}
		if got == want {
			return
		}
		t.Logf("an IPv4 and an IPv6 source begin %d handshakes, want %d", got, want)
		if got[0] > limit || got[1] > limit {
			break
		}
	}
	t.Error("no guard in three")
}

// Workers take from the same budgets.
func TestHalfOpenBudgetsOfWorkers(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	for _, a := range []string{"198.18.1.1", "2001:db8::1"} {
		client := ports(a)
		added := 0
		for ; ; added++ {
			if err := g.AddHalfOpen(inline().ServiceKey, client(added)); errors.Is(err, ErrHalfOpen) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if added != limit*halfOpenRoom {
			t.Errorf("%s: %d, want %d", a, added, limit*halfOpenRoom)
		}
		if err := g.AddHalfOpen(inline().ServiceKey, client(0)); err != nil {
			t.Errorf("a retransmission: %v", err)
		}
		check(t, g, a, step{verifiedFrom(client(500)), xdpDrop, overHalfOpen})
		send(t, g, back(from(func() *packet { p := verifiedFrom(client(0)); p.Payload = appData; return p }(), client(0))))
		check(t, g, a, step{verifiedFrom(client(500)), xdpPass, valid})
	}
}

// A ClientHello without a cookie does not count against the share of the source address it carries, and an expired entry is
// not a flow any more.
func TestHalfOpenBudgetsAreOfTheProved(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	client := ports("198.18.1.1")
	for i := range 100 {
		if err := g.AddUnproved(inline().ServiceKey, client(1000+i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range limit * halfOpenRoom {
		if err := g.AddHalfOpen(inline().ServiceKey, client(i)); err != nil {
			t.Fatalf("flow %d: %v", i, err)
		}
	}
	key, err := g.flowKey(inline().ServiceKey, client(0))
	if err == nil {
		err = g.maps.HalfOpen.Put(key, &guardHalfOpenFlow{Seen: monotonic() - uint64(2*time.Hour)})
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := g.AddHalfOpen(inline().ServiceKey, client(0)); !errors.Is(err, ErrHalfOpen) {
		t.Errorf("an aged entry: %v", err)
	}
}

// Clients with flows that repeat their handshake, because the server restarted, take no token.
func TestHalfOpenBudgetsOfFlows(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	client := ports("198.18.1.1")
	for i := range 100 {
		if err := g.AddFlow(inline().ServiceKey, client(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := begun(t, g, 100, client); n != 100 {
		t.Errorf("%d of 100 clients with flows", n)
	}
	for i := range 100 {
		if err := g.AddHalfOpen(inline().ServiceKey, client(i)); err != nil {
			t.Fatalf("worker's client %d: %v", i, err)
		}
	}
	if n := begun(t, g, 100, func(i int) netip.AddrPort { return client(500 + i) }); n != limit*halfOpenRoom {
		t.Errorf("%d new handshakes, want %d", n, limit*halfOpenRoom)
	}
}

// Without a limit, and in a proxy, where workers count, nothing is counted.
func TestNoHalfOpenBudget(t *testing.T) {
	g := limiting(t, 0)
	if n := begun(t, g, 500, ports("198.18.1.1")); n != 500 {
		t.Errorf("%d of 500", n)
	}
	s := inline()
	s.Proxy, s.WorkersPort = true, 0
	g = guarding(t, s)
	if err := g.SetPolicy(Policy{Handshake: time.Hour, HalfOpenPerSource: 1}); err != nil {
		t.Fatal(err)
	}
	if n := begun(t, g, 100, ports("198.18.1.1")); n != 100 {
		t.Errorf("in a proxy %d of 100", n)
	}
}
