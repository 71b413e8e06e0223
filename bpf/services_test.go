package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestServices(t *testing.T) {
	g := guarding(t,
		Service{ServiceKey: ServiceKey{server4.Addr(), 4433}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{netip.IPv4Unspecified(), 4433}, Answer: AnswerDrop},
		Service{ServiceKey: ServiceKey{server6.Addr(), 4433}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{server4.Addr(), 5684}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{netip.IPv6Unspecified(), 5685}, Answer: AnswerDrop})
	to := func(p *packet, dst string) *packet { p.Dst = netip.MustParseAddrPort(dst); return p }
	const off = "drop-answer-off reason:hello cookie:none"
	check(t, g, "addresses",
		step{newPacket(firstHello), xdpTx, answered},
		step{to(newPacket(firstHello), "198.18.0.2:4433"), xdpDrop, off},
		step{newPacket6(firstHello), xdpTx, answered},
		step{to(newPacket6(firstHello), "[2001:db8::2]:4433"), xdpPass, untouched},
		step{to(newPacket(firstHello), "198.18.0.1:5684"), xdpTx, answered},
		step{to(newPacket(firstHello), "198.18.0.2:5684"), xdpPass, untouched},
		step{to(newPacket(firstHello), "198.18.0.1:5685"), xdpPass, untouched},
		step{to(newPacket6(firstHello), "[2001:db8::2]:5685"), xdpDrop, off})
	if err := g.DeleteService(ServiceKey{server4.Addr(), 4433}); err != nil {
		t.Fatal(err)
	}
	check(t, g, "one deleted", step{newPacket(firstHello), xdpDrop, off}, step{newPacket6(firstHello), xdpTx, answered})
	for _, k := range g.Services() {
		if err := g.DeleteService(k); err != nil {
			t.Fatal(err)
		}
	}
	check(t, g, "all deleted", step{newPacket(firstHello), xdpPass, untouched}, step{newPacket6(firstHello), xdpPass, untouched},
		step{with(newPacket(appData), func(p *packet) { p.Frag = 10 }), xdpPass, untouched})
}

// Flows of a deleted service give no access to the service that replaces it.
func TestFlowsEndWithTheirService(t *testing.T) {
	g := guarding(t, inline())
	check(t, g, "first", step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid}, step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	check(t, g, "changed", step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	if err := g.DeleteService(inline().ServiceKey); err != nil {
		t.Fatal(err)
	}
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	check(t, g, "made anew", step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
}

func TestDaemonLost(t *testing.T) {
	s := inline()
	s.Answer = AnswerWorkers
	g := guarding(t, s)
	if err := g.SetWorkers([]int{0}, true); err != nil {
		t.Fatal(err)
	}
	g.Credit(0).Refill(1000)
	silent := func(p Policy) {
		if err := g.SetPolicy(p); err != nil {
			t.Fatal(err)
		}
		g.control.Heartbeat, g.control.SecretUntil = 1, min(1, g.control.SecretUntil) // at boot
	}
	pinned(t, func() {
		silent(Policy{HeartbeatLimit: time.Second})
		check(t, g, "drop", step{newPacket(firstHello), xdpDrop, "drop-daemon-lost reason:hello cookie:none"})
		silent(Policy{HeartbeatLimit: time.Second, PassWhenLost: true})
		check(t, g, "pass", step{newPacket(firstHello), xdpPass, "pass-daemon-lost reason:hello cookie:none"},
			step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid})
		silent(Policy{})
		check(t, g, "no limit", step{newPacket(firstHello), xdpPass, steered})
		silent(Policy{HeartbeatLimit: time.Second})
		g.Heartbeat()
		check(t, g, "alive again", step{newPacket(firstHello), xdpPass, steered})
		s.Answer = AnswerAuto
		if err := g.SetService(s); err != nil {
			t.Fatal(err)
		}
		silent(Policy{HeartbeatLimit: time.Second})
		check(t, g, "auto", step{newPacket(firstHello), xdpTx, answered})
		silent(Policy{HeartbeatLimit: time.Second, SecretLifetime: time.Second})
		check(t, g, "secret too old", step{newPacket(firstHello), xdpDrop, "drop-daemon-lost reason:hello cookie:none"})
	})
}

func TestIdleFlows(t *testing.T) {
	g := guarding(t, inline())
	if err := g.AddFlow(inline().ServiceKey, client4); err != nil {
		t.Fatal(err)
	}
	check(t, g, "fresh", step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	key, err := g.flowKey(inline().ServiceKey, client4)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.maps.Flows.Put(key, &guardFlow{Seen: 1}); err != nil {
		t.Fatal(err)
	}
	if err := g.SetPolicy(Policy{IdleTimeout: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	check(t, g, "idle", step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
	if err := g.SetPolicy(Policy{}); err != nil {
		t.Fatal(err)
	}
	check(t, g, "no limit", step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
	var f guardFlow
	if err := g.maps.Flows.Lookup(key, &f); err != nil || f.Seen < uint64(time.Second) {
		t.Errorf("time stamp was not renewed: %+v, %v", f, err)
	}
	if n, _, err := g.VerifiedFlows(); n != 1 || err != nil {
		t.Errorf("%d flows, %v", n, err)
	}
	if err := g.DeleteFlow(inline().ServiceKey, client4); err != nil {
		t.Fatal(err)
	}
	check(t, g, "deleted", step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
}

func TestSteering(t *testing.T) {
	s := inline()
	s.Answer = AnswerWorkers
	g := guarding(t, s)
	const none = "drop-no-credit reason:hello cookie:none"
	toWorkers := with(newPacket(firstHello), func(p *packet) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 4444) })
	check(t, g, "no workers", step{newPacket(firstHello), xdpDrop, none}, step{toWorkers, xdpDrop, "drop-workers-port"})
	if err := g.SetWorkers([]int{0}, true); err != nil {
		t.Fatal(err)
	}
	c := g.Credit(0)
	c.Refill(2)
	pinned(t, func() { // on CPU 0
		for _, make := range []func([]byte) *packet{newPacket, newPacket6} {
			frame := make(firstHello).bytes()
			_, out := run(t, g, frame)
			at := len(frame) - len(firstHello) - 8
			if got := binary.BigEndian.Uint16(out[at+2:]); got != 4444 {
				t.Errorf("destination port %d", got)
			}
			frame[at+2], frame[at+3] = 4444>>8, 4444&0xff
			p := make(firstHello)
			p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 4444)
			if !bytes.Equal(out, p.bytes()) {
				t.Errorf("steered\n% x, want\n% x", out, p.bytes())
			}
		}
		if c.Left() != 0 {
			t.Errorf("credit left: %d", c.Left())
		}
		check(t, g, "credit spent", step{newPacket(firstHello), xdpDrop, none}, step{newPacket(appData), xdpDrop, "drop-unverified reason:encrypted"})
		c.Grant(1)
		check(t, g, "granted", step{newPacket(firstHello), xdpPass, steered}, step{newPacket(firstHello), xdpDrop, none})
		s.Answer = AnswerAuto
		if err := g.SetService(s); err != nil {
			t.Fatal(err)
		}
		check(t, g, "auto", step{newPacket(firstHello), xdpTx, answered})
		c.Refill(1)
		check(t, g, "auto with credit", step{newPacket(firstHello), xdpPass, steered}, step{newPacket(firstHello), xdpTx, answered})
	})
	if err := g.SetWorkers([]int{1}, true); err != nil {
		t.Skipf("needs a second CPU: %v", err)
	}
	c.Refill(10)
	pinned(t, func() {
		check(t, g, "from another CPU", step{newPacket(firstHello), xdpRedirect, steered})
		p := Service{ServiceKey: ServiceKey{server4.Addr(), 5684}, Proxy: true, Answer: AnswerWorkers}
		if err := g.SetService(p); err != nil {
			t.Fatal(err)
		}
		if err := g.AddFlow(p.ServiceKey, client4); err != nil {
			t.Fatal(err)
		}
		to := func(p *packet) *packet { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 5684); return p }
		before := c.Left()
		check(t, g, "proxy: the socket is picked behind XDP", step{to(newPacket(appData)), xdpPass, "pass-flow reason:encrypted"})
		if c.Left() != before {
			t.Error("packets of verified flows cost credit")
		}
		check(t, g, "proxy", step{to(newPacket(firstHello)), xdpRedirect, steered}, step{to(newPacket(malformed)), xdpDrop, "drop-malformed reason:truncated"})
	})
}

// A service's counters start at 0, whatever service had its index before.
func TestCountersAreTheServicesOwn(t *testing.T) {
	g := guarding(t, inline())
	run(t, g, newPacket(firstHello).bytes())
	if err := g.DeleteService(inline().ServiceKey); err != nil {
		t.Fatal(err)
	}
	other := inline()
	other.Port = 5684
	if err := g.SetService(other); err != nil {
		t.Fatal(err)
	}
	c, err := g.ServiceCounters(other.ServiceKey)
	if err != nil || c.Packets() != 0 {
		t.Errorf("%d packets of a service that has had none, %v", c.Packets(), err)
	}
	if all := counters(t, g); all.Packets() != 1 {
		t.Errorf("%d packets in all, want the one of the service that is gone", all.Packets())
	}
}
