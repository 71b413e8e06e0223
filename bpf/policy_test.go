package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/dchest/siphash"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
)

func TestCookies(t *testing.T) {
	for name, p := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		g := guarding(t, inline())
		src := p(nil).Src
		ch2 := second(testRing.Current(), src, 4433)
		elsewhere := with(p(ch2), func(p *packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 9) })
		check(t, g, name,
			step{p(appData), xdpDrop, "drop-unverified reason:encrypted"},
			step{p(flip(ch2, 62)), xdpTx, "answered reason:hello cookie:wrong"},
			step{p(flip(ch2, 61+31)), xdpTx, "answered reason:hello cookie:wrong"},
			step{p(flip(ch2, 61)), xdpTx, "answered reason:hello cookie:expired"},
			step{p(flip(ch2, 27)), xdpTx, "answered reason:hello cookie:wrong"},
			step{elsewhere, xdpTx, "answered reason:hello cookie:wrong"},
			step{p(ch2), xdpPass, valid},
			step{p(appData), xdpPass, "pass-flow reason:encrypted"},
			step{p(alert), xdpPass, "pass-flow reason:not-hello"},
			step{p(later), xdpPass, "pass-flow reason:later-fragment"},
			step{p(malformed), xdpDrop, "drop-malformed reason:truncated"},
			step{p(stun), xdpDrop, "drop-unverified reason:not-dtls"},
			step{p(firstHello), xdpTx, answered},
			step{with(p(appData), func(p *packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 9) }), xdpDrop, "drop-unverified reason:encrypted"},
		)
	}
}

func TestRotation(t *testing.T) {
	g := guarding(t, inline())
	old := testRing
	oldHello := newPacket(second(old.Current(), client4, 4433))
	next, err := old.Next(cookie.Secret{9, 8, 7}, 0x5b)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetSecret(next.Current(), next.Previous()); err != nil {
		t.Fatal(err)
	}
	check(t, g, "after one rotation", step{oldHello, xdpPass, valid},
		step{newPacket(second(next.Current(), client4, 4433)), xdpPass, valid})
	// Old key ID, wrong cookie: answered under the new key, whose cookie then passes.
	before := counters(t, g)
	wrong := newPacket(flip(oldHello.Payload, 70))
	action, out := run(t, g, wrong.bytes())
	_, _, d := udpOf(t, out, 0)
	if c := wantCookie(next.Current(), client4, 4433, wrong.Payload); action != xdpTx || !bytes.Equal(d[28:], c[:]) {
		t.Errorf("wrong cookie of the previous key: action %d, %s, answer %x", action, moved(t, g, before), d)
	}
	last, err := next.Next(cookie.Secret{4, 4, 3}, 0x5c)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.SetSecret(last.Current(), last.Previous()); err != nil {
		t.Fatal(err)
	}
	before = counters(t, g)
	if action, _ := run(t, g, oldHello.bytes()); action != xdpTx {
		t.Errorf("after two rotations: action %d, %s", action, moved(t, g, before))
	}
}

// The server itself may ask a verified client again; a worker handles the client's answer to that.
func TestFlowHellos(t *testing.T) {
	s := inline()
	s.FlowHellos = true
	g := guarding(t, s)
	servers := hellotest.New()
	servers.Cookie, servers.MessageSeq = bytes.Repeat([]byte{7}, 20), 2
	own := newPacket(second(testRing.Current(), client4, 4433))
	const toWorker = "pass-flow reason:hello cookie:foreign"
	check(t, g, "flow hellos",
		step{newPacket(servers.Bytes()), xdpTx, "answered reason:hello cookie:foreign"},
		step{own, xdpPass, valid},
		step{newPacket(servers.Bytes()), xdpPass, toWorker},
		step{own, xdpPass, toWorker},
		step{newPacket(firstHello), xdpTx, answered},
		step{with(newPacket(servers.Bytes()), func(p *packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 9) }), xdpTx, "answered reason:hello cookie:foreign"})
}

func TestNoSecretNoAnswer(t *testing.T) {
	g := load(t, Options{})
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	check(t, g, "no secret", step{newPacket(firstHello), xdpDrop, "drop-daemon-lost reason:hello cookie:none"},
		step{newPacket(hellotestZeroCookie()), xdpDrop, "drop-daemon-lost reason:hello cookie:expired"})
}

// hellotestZeroCookie has a cookie whose key ID matches a keyring of zeroes.
func hellotestZeroCookie() []byte {
	b := hellotest.New()
	b.Cookie = make([]byte, 32)
	return b.Bytes()
}

func TestUnverifiedPolicies(t *testing.T) {
	s := inline()
	s.Pass = ClassSTUN | ClassRTP
	g := guarding(t, s)
	quic, rtp := []byte{0xc0, 0}, []byte{0x80, 0}
	check(t, g, "classes",
		step{newPacket(stun), xdpPass, "pass-class reason:not-dtls"},
		step{newPacket(rtp), xdpPass, "pass-class reason:not-dtls"},
		step{newPacket(quic), xdpDrop, "drop-unverified reason:not-dtls"},
		step{newPacket([]byte{17}), xdpDrop, "drop-unverified reason:not-dtls"},
		step{newPacket([]byte{64}), xdpDrop, "drop-unverified reason:not-dtls"},
		step{newPacket(nil), xdpDrop, "drop-unverified reason:not-dtls"})
	s.Unverified = UnverifiedPass
	g = guarding(t, s)
	check(t, g, "pass",
		step{newPacket(quic), xdpPass, "pass-unverified reason:not-dtls"},
		step{newPacket(appData), xdpPass, "pass-unverified reason:encrypted"},
		step{newPacket(later), xdpDrop, "drop-unverified reason:later-fragment"},
		step{newPacket(firstHello), xdpTx, answered},
		step{newPacket(malformed), xdpDrop, "drop-malformed reason:truncated"})
	s.Unverified, s.UnverifiedRate = UnverifiedLimit, Rate{PerSecond: 0.01, Burst: 2}
	g = guarding(t, s)
	check(t, g, "limit",
		step{newPacket(appData), xdpPass, "pass-limited reason:encrypted"},
		step{newPacket(alert), xdpPass, "pass-limited reason:not-hello"},
		step{newPacket(appData), xdpDrop, "drop-limited reason:encrypted"},
		step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid},
		step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"})
}

// Junk takes no tokens from sessions that are older than the guard, and neither does another prefix.
func TestJunkLeavesSessionsTheirShare(t *testing.T) {
	s := inline()
	s.Unverified, s.UnverifiedRate = UnverifiedLimit, Rate{PerSecond: 0.01, Burst: 24}
	g := guarding(t, s)
	const limited, over = "pass-limited reason:encrypted", "drop-limited reason:encrypted"
	from := func(addr string) *packet {
		return with(newPacket(appData), func(p *packet) { p.Src = netip.AddrPortFrom(netip.MustParseAddr(addr), 5) })
	}
	for range 100 {
		run(t, g, newPacket([]byte{0}).bytes())
	}
	check(t, g, "after junk", step{newPacket([]byte{0}), xdpDrop, "drop-limited reason:not-dtls"}, step{from("198.18.1.1"), xdpPass, limited})
	for range 100 {
		run(t, g, from("198.18.2.2").bytes())
	}
	check(t, g, "next to a prefix that takes all it gets", step{from("198.18.2.2"), xdpDrop, over},
		step{from("198.18.1.1"), xdpPass, limited}, step{from("198.18.3.3"), xdpPass, limited})
}

// Protocols that look like DTLS or like others pass if the service names them.
func TestClasses(t *testing.T) {
	s := inline()
	anyconnect := hellotest.New()
	anyconnect.RecordVersion, anyconnect.Version = 0x0100, 0x0100
	record := []byte{23, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0}
	capwap := append([]byte{1, 0, 0, 0}, firstHello...)
	const bad, none = "drop-malformed reason:bad-version", "drop-unverified reason:not-dtls"
	check(t, guarding(t, s), "not named", step{newPacket(anyconnect.Bytes()), xdpDrop, bad}, step{newPacket(record), xdpDrop, bad}, step{newPacket(capwap), xdpDrop, none})
	s.Pass = ClassCAPWAP | ClassAnyConnect
	other := hellotest.New()
	other.RecordVersion = 0x0303
	check(t, guarding(t, s), "named",
		step{newPacket(anyconnect.Bytes()), xdpPass, "pass-class reason:bad-version"}, step{newPacket(record), xdpPass, "pass-class reason:bad-version"},
		step{newPacket(capwap), xdpPass, "pass-class reason:not-dtls"}, step{newPacket([]byte{0, 0x10}), xdpPass, "pass-class reason:not-dtls"},
		step{newPacket(other.Bytes()), xdpDrop, bad}, step{newPacket([]byte{2, 0}), xdpDrop, none}, step{newPacket(firstHello), xdpTx, answered})
}

// The bucket of a source is where SipHash-2-4 under the key of this start puts it: nobody can choose sources that share
// another's.
func TestSourceBuckets(t *testing.T) {
	s := inline()
	s.SourceRate = Rate{PerSecond: 0.01, Burst: 2}
	g := guarding(t, s)
	for i := range byte(20) {
		p := with(newPacket(nil), func(p *packet) { p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 3, i}), 7) })
		p.Payload = second(testRing.Current(), p.Src, 4433)
		check(t, g, "a source", step{p, xdpPass, valid})
		w := words(p.Src.Addr())
		var message [24]byte
		binary.LittleEndian.PutUint64(message[:], uint64(g.services[0].id))
		binary.LittleEndian.PutUint64(message[8:], uint64(w[0])<<32|uint64(w[1]))
		binary.LittleEndian.PutUint64(message[16:], uint64(w[3]))
		var full uint64
		if err := g.maps.SourceBuckets.Lookup(uint32(siphash.Hash(g.hashKey[0], g.hashKey[1], message[:])>>48), &full); err != nil || full == 0 {
			t.Errorf("%v has another bucket: %d, %v", p.Src, full, err)
		}
	}
}

func TestRates(t *testing.T) {
	from := func(p *packet, addr string) *packet {
		p.Src = netip.AddrPortFrom(netip.MustParseAddr(addr), p.Src.Port())
		p.Payload = second(testRing.Current(), p.Src, 4433)
		return p
	}
	s := inline()
	s.SourceRate = Rate{PerSecond: 0.01, Burst: 2}
	g := guarding(t, s)
	const over = "drop-source-rate reason:hello cookie:valid"
	check(t, g, "per source",
		step{from(newPacket(nil), "198.18.1.1"), xdpPass, valid}, step{from(newPacket(nil), "198.18.1.1"), xdpPass, valid},
		step{from(newPacket(nil), "198.18.1.1"), xdpDrop, over},
		step{from(newPacket(nil), "198.18.1.2"), xdpPass, valid},
		step{from(newPacket6(nil), "2001:db8:5::1"), xdpPass, valid}, step{from(newPacket6(nil), "2001:db8:5::2"), xdpPass, valid},
		step{from(newPacket6(nil), "2001:db8:5::3"), xdpDrop, over},
		step{from(newPacket6(nil), "2001:db8:5:1::3"), xdpPass, valid})
	s.SourceRate, s.ServiceRate = Rate{}, Rate{PerSecond: 0.01, Burst: 2}
	g = guarding(t, s)
	check(t, g, "per service",
		step{from(newPacket(nil), "198.18.1.1"), xdpPass, valid}, step{from(newPacket(nil), "198.18.1.2"), xdpPass, valid},
		step{from(newPacket(nil), "198.18.1.3"), xdpDrop, "drop-service-rate reason:hello cookie:valid"},
		step{newPacket(firstHello), xdpTx, answered})
}

// Answers of a CPU are limited over all services, because what is protected is the uplink that they share.
func TestAnswerRate(t *testing.T) {
	other := inline()
	other.Port, other.WorkersPort = 5684, 5685
	g := guarding(t, inline(), other)
	if err := g.SetPolicy(Policy{AnswerRate: Rate{PerSecond: 1e-6, Burst: 2}}); err != nil {
		t.Fatal(err)
	}
	toOther := with(newPacket(firstHello), func(p *packet) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 5684) })
	const over = "drop-answer-rate reason:hello cookie:none"
	pinned(t, func() {
		check(t, g, "two answers", step{newPacket(firstHello), xdpTx, answered}, step{toOther, xdpTx, answered},
			step{newPacket(firstHello), xdpDrop, over}, step{toOther, xdpDrop, over},
			step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid})
	})
	if err := g.SetPolicy(Policy{}); err != nil {
		t.Fatal(err)
	}
	check(t, g, "no limit", step{newPacket(firstHello), xdpTx, answered})
}

func TestMonitor(t *testing.T) {
	s := inline()
	s.Monitor = true
	g := guarding(t, s)
	check(t, g, "monitor", step{newPacket(firstHello), xdpPass, answered},
		step{newPacket(malformed), xdpPass, "drop-malformed reason:truncated"},
		step{newPacket(appData), xdpPass, "drop-unverified reason:encrypted"})
}
