package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

const crowdIdle = 100 * time.Second // of the services in these tests; in use is what was silent for 10 s

// putFlow gives the inline service an established flow that was silent for age.
func putFlow(t *testing.T, g *Programs, p netip.AddrPort, age time.Duration) {
	t.Helper()
	key, err := g.flowKey(inline().ServiceKey, p)
	if err == nil {
		err = g.maps.Flows.Put(key, &guardFlow{Seen: monotonic() - uint64(age), Established: 1})
	}
	noError(t, err)
}

// evicted is what EvictFlows does with so many flows per source.
func evicted(t *testing.T, g *Programs, perSource int) Eviction {
	t.Helper()
	e, err := g.EvictFlows(func(ServiceKey) time.Duration { return crowdIdle }, perSource)
	noError(t, err)
	return e
}

// peersOf lists the peers of established flows, or of half-open ones.
func peersOf(t *testing.T, g *Programs, established bool) map[netip.AddrPort]bool {
	t.Helper()
	peers := make(map[netip.AddrPort]bool)
	noError(t, g.Flows(func(f Flow) bool {
		if f.Established == established {
			peers[f.Peer] = true
		}
		return true
	}))
	return peers
}

// elsewhere has one flow for each of many prefixes.
func elsewhere(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 1)
}

// hosts has one flow for each address of a network.
func hosts(format string) func(i int) netip.AddrPort {
	return func(i int) netip.AddrPort { return ports(fmt.Sprintf(format, i))(0) }
}

// While flows are scarce, a source and a prefix lose idle ones beyond their limits with inline services, the longest silent first;
// nobody loses any that are in use, nobody else loses any, and neither do they while there is room.
func TestCrowdsAreThinnedOut(t *testing.T) {
	const room, limit = 100, 4
	for _, c := range []struct {
		name          string
		crowd, others int
		perSource     int
		proxy, inUse  bool
		from          func(i int) netip.AddrPort
		crowded       int
	}{
		{"a source", 60, 30, limit, false, false, ports("198.18.1.1"), 15},
		{"a source, in use", 60, 30, limit, false, true, ports("198.18.1.1"), 0},
		{"a source, with room", 30, 30, limit, false, false, ports("198.18.1.1"), 0},
		{"a source within its limit", 8, 80, 8, false, false, ports("198.18.1.1"), 0},
		{"an IPv6 /64", 60, 30, limit, false, false, hosts("2001:db8::%x"), 15},
		{"an IPv4 /24", 60, 30, limit, false, false, hosts("198.18.1.%d"), 15},
		{"an IPv4 /24, in use", 60, 30, limit, false, true, hosts("198.18.1.%d"), 0},
		{"an IPv6 /48", 60, 30, limit, false, false, hosts("2001:db8:0:%x::"), 15},
		{"no limit", 60, 30, 0, false, false, ports("198.18.1.1"), 0},
		{"of a proxy", 60, 30, limit, true, false, ports("198.18.1.1"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := load(t, Options{MaxFlows: room})
			s := inline()
			if c.proxy {
				s.Proxy, s.WorkersPort = true, 0
			}
			noError(t, g.SetService(s))
			idle := 2 * crowdIdle / 10
			if c.inUse {
				idle = 0
			}
			for i := range c.crowd {
				putFlow(t, g, c.from(i), idle+time.Duration(i)*time.Millisecond)
			}
			for i := range c.others { // silent for longer
				putFlow(t, g, elsewhere(i), idle+time.Second)
			}
			if e := evicted(t, g, c.perSource); e.Crowded != c.crowded || e.Flows != c.crowd+c.others-c.crowded {
				t.Fatalf("%+v; want %d taken from the crowd", e, c.crowded)
			}
			left := peersOf(t, g, true)
			for i := range c.crowd {
				if p := c.from(i); left[p] != (i < c.crowd-c.crowded) {
					t.Errorf("flow %d of the crowd is there: %v", i, left[p])
				}
			}
		})
	}
}

// Addresses that have a whole prefix over its limit lose idle flows, and none of their neighbours does, however long its flows are
// idle, and however many addresses they are.
func TestCrowdsLeaveTheirNeighbours(t *testing.T) {
	const limit = 4
	for _, addresses := range []int{1, 12} { // 12 times 4 flows are over the prefix's limit of 32, none is over its own
		g := limitingRoom(t, 100)
		neighbour := ports("198.18.1.200")
		for i := range 90 {
			if addresses > 1 && i >= addresses*limit {
				break
			}
			putFlow(t, g, netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 1, byte(1 + i%addresses)}), uint16(1+i)), 20*time.Second)
		}
		putFlow(t, g, neighbour(0), 90*time.Second)
		for i := 0; len(peersOf(t, g, true)) < 92; i++ {
			putFlow(t, g, elsewhere(i), 0)
		}
		if e := evicted(t, g, limit); e.Crowded == 0 {
			t.Fatalf("%d addresses: %+v", addresses, e)
		}
		if !peersOf(t, g, true)[neighbour(0)] {
			t.Errorf("%d addresses: the neighbour's flow is gone", addresses)
		}
		check(t, g, "the neighbour", step{verifiedFrom(neighbour(50)), xdpPass, valid})
		check(t, g, "the crowd", step{verifiedFrom(ports("198.18.1.1")(5000)), xdpDrop, overHalfOpen})
	}
}

// limitingRoom is limiting with room for so many flows.
func limitingRoom(t *testing.T, maxFlows int) *Programs {
	t.Helper()
	g := load(t, Options{MaxFlows: maxFlows})
	noError(t, errors.Join(g.SetSecret(testRing.Current(), nil), g.SetService(inline()), g.SetPolicy(Policy{Handshake: time.Hour, HalfOpenPerSource: 64})))
	return g
}

// Sources that have all flows that they may have begin no handshake, whether or not half-open flows have a limit; others do, and so do
// they when their flows have ended. While less than half of all flows are used, they may have eight times as many.
func TestFullSourcesBeginNothing(t *testing.T) {
	const room, limit = 100, 4
	for name, c := range map[string]struct {
		from, neighbour func(i int) netip.AddrPort
		flows, others   int
		halfOpen        int
		refused         bool
	}{
		"a source":                            {ports("198.18.1.1"), ports("198.18.1.2"), limit, 60, 64, true},
		"a source below its limit":            {ports("198.18.1.1"), ports("198.18.1.2"), limit - 1, 60, 64, false},
		"a source, no limit of half-open":     {ports("198.18.1.1"), ports("198.18.1.2"), limit, 60, 0, true},
		"a source, with room":                 {ports("198.18.1.1"), ports("198.18.1.2"), 8*limit - 1, 0, 64, false},
		"a source, with room, at eight times": {ports("198.18.1.1"), ports("198.18.1.2"), 8 * limit, 0, 64, true},
		"an IPv6 /64":                         {hosts("2001:db8::%x"), ports("2001:db8:0:1::1"), limit, 60, 64, true},
		"an IPv6 /48":                         {hosts("2001:db8:0:%x::"), ports("2001:db9::1"), 8 * limit, 60, 64, true},
	} {
		g := limitingRoom(t, room)
		noError(t, g.SetPolicy(Policy{Handshake: time.Hour, HalfOpenPerSource: c.halfOpen}))
		for i := range c.flows {
			putFlow(t, g, c.from(i), 0)
		}
		for i := range c.others {
			putFlow(t, g, elsewhere(i), 0)
		}
		if e := evicted(t, g, limit); e.Crowded != 0 || (e.Refused > 0) != c.refused {
			t.Errorf("%s: %+v", name, e)
		}
		newcomer, want := step{verifiedFrom(c.from(1000)), xdpPass, valid}, step{verifiedFrom(c.neighbour(0)), xdpPass, valid}
		if c.refused {
			newcomer = step{verifiedFrom(c.from(1000)), xdpDrop, overHalfOpen}
			if err := g.AddHalfOpen(inline().ServiceKey, c.from(1001)); !errors.Is(err, ErrHalfOpen) {
				t.Errorf("%s: by a worker: %v", name, err)
			}
		}
		check(t, g, name, newcomer, want, step{verifiedFrom(c.from(0)), xdpPass, valid}, step{from(newPacketTo(appData, c.from(0)), c.from(0)), xdpPass, "pass-flow reason:encrypted"})
		for i := range c.flows {
			noError(t, g.DeleteFlow(inline().ServiceKey, c.from(i)))
		}
		if e := evicted(t, g, limit); e.Refused != 0 {
			t.Errorf("%s: the flows have ended: %+v", name, e)
		}
		check(t, g, name, step{verifiedFrom(c.from(1002)), xdpPass, valid})
	}
}

// newPacketTo is a packet of a client's family.
func newPacketTo(d []byte, client netip.AddrPort) *packet {
	if client.Addr().Is6() {
		return newPacket6(d)
	}
	return newPacket(d)
}

// Half-open flows that a source keeps alive for longer than its tokens are away are no more than its limit: the oldest end. Young
// ones, those within the limit, and those that named an address without a cookie stay.
func TestLingeringHalfOpenFlowsAreFew(t *testing.T) {
	const limit = 4
	g := limiting(t, limit)
	now, timeout := monotonic(), uint64(time.Hour)
	put := func(p netip.AddrPort, age, taken uint64) {
		key, err := g.flowKey(inline().ServiceKey, p)
		if err == nil {
			err = g.maps.HalfOpen.Put(key, &guardHalfOpenFlow{Seen: now, Born: now - age, Taken: taken})
		}
		noError(t, err)
	}
	crowd, young, few, unproved, site := ports("198.18.1.1"), ports("198.18.2.1"), ports("198.18.3.1"), ports("198.18.4.1"), hosts("198.18.5.%d")
	const many = limit*halfOpenRoom + 10
	for i := range many {
		put(crowd(i), 2*timeout-uint64(i), 1)
		put(young(i), timeout/2, 1)
		put(unproved(i), 2*timeout, 0)
	}
	for i := range limit * halfOpenRoom {
		put(few(i), 3*timeout, 1)
	}
	for i := range 250 {
		put(site(i), 2*timeout-uint64(i), 1)
	}
	if e := evicted(t, g, 0); e.Lingered != 10 { // the site has fewer than 8 times 8 times the limit
		t.Fatalf("%+v", e)
	}
	left := peersOf(t, g, false)
	for i := range many {
		if left[crowd(i)] != (i >= 10) || !left[young(i)] || !left[unproved(i)] {
			t.Errorf("flow %d: of the crowd %v, young %v, unproved %v", i, left[crowd(i)], left[young(i)], left[unproved(i)])
		}
	}
	for i := 0; len(peersOf(t, g, false)) < g.options.halfOpen(); i++ { // half are in use: each has its limit alone
		put(elsewhere(i), 0, 1)
	}
	evicted(t, g, 0)
	left = peersOf(t, g, false)
	counts := make(map[netip.Addr]int)
	for p := range left {
		counts[p.Addr()]++
	}
	sites := 0
	for a, n := range counts {
		if p, _ := a.Prefix(24); p == netip.MustParsePrefix("198.18.5.0/24") {
			sites += n
		}
	}
	if counts[crowd(0).Addr()] != limit || counts[few(0).Addr()] != limit || counts[young(0).Addr()] != many || sites != limit*prefixHalfOpen {
		t.Errorf("in short: %d of a crowd, %d, %d young ones, %d of a site", counts[crowd(0).Addr()], counts[few(0).Addr()], counts[young(0).Addr()], sites)
	}
}
