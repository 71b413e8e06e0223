package bpf

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// peer returns a different client for each i.
func peer(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(2 + i>>8), byte(i)}), 5000)
}

func from(p *packet, src netip.AddrPort) *packet { p.Src = src; return p }

// The flow map holds as many established flows as configured, however many peers prove their addresses meanwhile, on any number of
// CPUs: it evicts nothing.
func TestEstablishedFlowsAreKept(t *testing.T) {
	const maxFlows, halfOpen = 1000, 20000
	const flows = maxFlows + maxFlows/flowSlack + 1 // that there is room for until idle ones are taken away
	g := load(t, Options{MaxFlows: maxFlows})
	if err := errors.Join(g.SetSecret(testRing.Current(), nil), g.SetService(inline())); err != nil {
		t.Fatal(err)
	}
	for i := range flows {
		before := counters(t, g)
		send(t, g, back(from(newPacket(appData), peer(i))))
		if got := moved(t, g, before); got != "egress:learned" {
			t.Fatalf("flow %d of %d: %s", i+1, flows, got)
		}
	}
	before := counters(t, g)
	send(t, g, back(from(newPacket(appData), peer(flows))))
	if got := moved(t, g, before); got != "egress:full" {
		t.Errorf("flow %d of %d: %s", flows+1, flows, got)
	}
	for i := range halfOpen {
		if err := g.AddHalfOpen(inline().ServiceKey, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range flows {
		if action, _ := run(t, g, from(newPacket(appData), peer(i)).bytes()); action != xdpPass {
			t.Fatalf("flow %d of %d is not known any more", i+1, flows)
		}
	}
	all, half, err := g.VerifiedFlows()
	if err != nil || all-half != flows || half < leastHalfOpen {
		t.Errorf("%d flows, %d of them half-open, %v; want %d established and at least %d half-open", all, half, err, flows, leastHalfOpen)
	}
}

// In a proxy a cookie only lets the rest of the ClientHello through: the workers have the flows.
func TestFlowsOfAProxyAreTheWorkers(t *testing.T) {
	s := inline()
	s.Proxy, s.WorkersPort, s.Answer = true, 0, AnswerXDP
	g := guarding(t, s)
	const unknown = "drop-unverified reason:encrypted"
	check(t, g, "stranger", step{newPacket(later), xdpDrop, "drop-unverified reason:later-fragment"})
	check(t, g, "verified",
		step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid},
		step{newPacket(later), xdpPass, "pass-flow reason:later-fragment"},
		step{newPacket(appData), xdpDrop, unknown}, step{newPacket(alert), xdpDrop, "drop-unverified reason:not-hello"})
	before := counters(t, g)
	send(t, g, back(newPacket(appData)))
	if got := moved(t, g, before); got != "egress:established" {
		t.Errorf("a worker's packet: %s", got)
	}
	check(t, g, "a worker sent something", step{newPacket(appData), xdpDrop, unknown})
	if err := g.AddFlow(s.ServiceKey, client4); err != nil {
		t.Fatal(err)
	}
	check(t, g, "flow", step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	if err := g.DeleteFlow(s.ServiceKey, client4); err != nil {
		t.Fatal(err)
	}
	check(t, g, "no flow", step{newPacket(appData), xdpDrop, unknown}, step{newPacket(later), xdpDrop, "drop-unverified reason:later-fragment"})
}

func TestHalfOpenFlowsAgeSooner(t *testing.T) {
	g := guarding(t, inline())
	if err := errors.Join(g.SetPolicy(Policy{Handshake: time.Millisecond, IdleTimeout: time.Hour}), g.AddHalfOpen(inline().ServiceKey, client4)); err != nil {
		t.Fatal(err)
	}
	key, err := g.flowKey(inline().ServiceKey, client4)
	if err == nil {
		err = g.maps.HalfOpen.Put(key, &guardHalfOpenFlow{Seen: 1, Born: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	check(t, g, "late", step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
	send(t, g, back(newPacket(appData)))
	check(t, g, "established", step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	if all, half, err := g.VerifiedFlows(); all != 1 || half != 0 || err != nil {
		t.Errorf("%d flows, %d of them half-open, %v: want the established one", all, half, err)
	}
}

func TestEvictFlows(t *testing.T) {
	const room, idle = 100, 100 * time.Second
	g := load(t, Options{MaxFlows: room})
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	now := monotonic()
	put := func(i int, age time.Duration) {
		key, err := g.flowKey(inline().ServiceKey, peer(i))
		if err == nil {
			err = g.maps.Flows.Put(key, &guardFlow{Seen: now - uint64(age), Established: 1})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 110 {
		put(i, time.Duration(i)*time.Second/2) // 0 to 54.5 s; from the 21st on idle
	}
	for i := 110; i < 115; i++ {
		put(i, idle+time.Second)
	}
	after := func(ServiceKey) time.Duration { return idle }
	e, err := g.EvictFlows(after, 0)
	if want := (Eviction{Flows: 100, Expired: 5, Evicted: 10, Scarce: true}); err != nil || e != want {
		t.Fatalf("%+v, %v; want %+v", e, err, want)
	}
	for i, kept := range map[int]bool{0: true, 20: true, 99: true, 100: false, 109: false, 110: false} {
		key, err := g.flowKey(inline().ServiceKey, peer(i))
		var f guardFlow
		if err != nil || (g.maps.Flows.Lookup(key, &f) == nil) != kept {
			t.Errorf("flow %d is kept: %v", i, !kept)
		}
	}
	for i := range 120 { // in use
		put(i, 0)
	}
	if e, err = g.EvictFlows(after, 0); err != nil || e != (Eviction{Flows: 120, Scarce: true}) {
		t.Errorf("%+v, %v: flows in use go, or the lack of room is not told", e, err)
	}
}

// Each service has its own idle time.
func TestEvictFlowsByService(t *testing.T) {
	g := load(t, Options{})
	patient, hasty := inline(), inline()
	hasty.Port, hasty.WorkersPort = 4434, 4445
	now := monotonic()
	for _, s := range []Service{patient, hasty} {
		if err := g.SetService(s); err != nil {
			t.Fatal(err)
		}
		key, err := g.flowKey(s.ServiceKey, peer(1))
		if err == nil {
			err = g.maps.Flows.Put(key, &guardFlow{Seen: now - uint64(time.Minute), Established: 1})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	idle := map[ServiceKey]time.Duration{patient.ServiceKey: time.Hour, hasty.ServiceKey: time.Second}
	e, err := g.EvictFlows(func(s ServiceKey) time.Duration { return idle[s] }, 0)
	if want := (Eviction{Flows: 1, Expired: 1}); err != nil || e != want {
		t.Fatalf("%+v, %v; want %+v", e, err, want)
	}
	err = g.Flows(func(f Flow) bool {
		if f.Service != patient.ServiceKey {
			t.Errorf("a flow of %v is left", f.Service)
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}
