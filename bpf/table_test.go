package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello/hellotest"
)

var (
	firstHello = hellotest.New().Bytes()
	appData    = []byte{23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0}
	alert      = []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40}
	later      = hellotest.Cases()[slices.IndexFunc(hellotest.Cases(), func(c hellotest.Case) bool { return c.Name == "second fragment" })].Datagram
	stun       = []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}
	malformed  = []byte{22, 0xfe, 0xfd}
)

// second is firstHello again with the cookie that key gives.
func second(key *cookie.Key, src netip.AddrPort, port uint16) []byte {
	b := hellotest.New()
	c := wantCookie(key, src, port, firstHello)
	b.Cookie, b.MessageSeq, b.RecordSeq = c[:], 1, 1
	return b.Bytes()
}

func flip(b []byte, i int) []byte {
	b = bytes.Clone(b)
	b[(i+len(b))%len(b)] ^= 1
	return b
}

// step is one packet and what must become of it.
type step struct {
	packet *packet
	action uint32
	moved  string
}

func with(p *packet, change func(*packet)) *packet { change(p); return p }

func check(t *testing.T, g *Guard, name string, steps ...step) {
	t.Helper()
	for i, s := range steps {
		before := counters(t, g)
		frame := s.packet.bytes()
		action, out := run(t, g, frame)
		if got := moved(t, g, before); action != s.action || got != s.moved {
			t.Errorf("%s, step %d: action %d, %s; want %d, %s", name, i, action, got, s.action, s.moved)
			continue
		}
		switch {
		case action == xdpTx:
			checkAnswer(t, name, s.packet, out, len(s.packet.VLANs))
		case !bytes.Equal(out, frame) && s.moved != steered:
			t.Errorf("%s, step %d: the frame was changed", name, i)
		}
	}
}

const (
	answered  = "answered reason:hello cookie:none"
	steered   = "steered reason:hello cookie:none"
	valid     = "pass-verified reason:hello cookie:valid"
	untouched = "pass-unprotected"
)

func TestLayers(t *testing.T) {
	hop := extension{0, []byte{1, 4, 0, 0, 0, 0}}
	routing := extension{43, []byte{4, 0, 0, 0, 0, 0}}
	options := extension{60, append([]byte{1, 12}, make([]byte, 12)...)}
	g := guarding(t, inline())
	many := slices.Repeat([]extension{options}, 9)
	for _, c := range []struct {
		name   string
		v6     bool
		change func(*packet)
		action uint32
		moved  string
	}{
		{"VLAN", false, func(p *packet) { p.VLANs = []uint16{0x8100} }, xdpTx, answered},
		{"QinQ", false, func(p *packet) { p.VLANs = []uint16{0x88a8, 0x8100} }, xdpTx, answered},
		{"three tags", false, func(p *packet) { p.VLANs = []uint16{0x88a8, 0x8100, 0x8100} }, xdpPass, untouched},
		{"options", false, func(p *packet) { p.Options = []byte{1, 1, 1, 0} }, xdpTx, answered},
		{"most options", false, func(p *packet) { p.Options = make([]byte, 40) }, xdpTx, answered},
		{"padding", false, func(p *packet) { p.Padding = 18 }, xdpTx, answered},
		{"longest frame", false, func(p *packet) { p.Padding = 2000 }, xdpTx, answered},
		{"VLAN", true, func(p *packet) { p.VLANs = []uint16{0x8100} }, xdpTx, answered},
		{"QinQ", true, func(p *packet) { p.VLANs = []uint16{0x88a8, 0x8100} }, xdpTx, answered},
		{"hop-by-hop", true, func(p *packet) { p.Extensions = []extension{hop} }, xdpTx, answered},
		{"three extensions", true, func(p *packet) { p.Extensions = []extension{hop, routing, options} }, xdpTx, answered},
		{"most extensions", true, func(p *packet) { p.Extensions = many[:8] }, xdpTx, answered},
		{"too many extensions", true, func(p *packet) { p.Extensions = many }, xdpDrop, "drop-extensions"},
		{"atomic fragment", true, func(p *packet) { p.FragHeader = true }, xdpTx, answered},

		{"TCP", false, func(p *packet) { p.Protocol = 6 }, xdpPass, untouched},
		{"TCP", true, func(p *packet) { p.Protocol = 6 }, xdpPass, untouched},
		{"other port", false, func(p *packet) { p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 53) }, xdpPass, untouched},
		{"no IP", false, func(p *packet) { p.EtherType = 0x0806 }, xdpPass, untouched},
		{"version and type differ", false, func(p *packet) { p.EtherType = 0x86dd }, xdpPass, untouched},
		{"version and type differ", true, func(p *packet) { p.EtherType = 0x0800 }, xdpPass, untouched},
		{"IP longer than the frame", false, func(p *packet) { p.TotalLen = 500 }, xdpPass, untouched},
		{"IP longer than the frame", true, func(p *packet) { p.TotalLen = 500 }, xdpPass, untouched},
		{"IP shorter than UDP", false, func(p *packet) { p.TotalLen = 20 + 7 }, xdpPass, untouched},
		{"UDP longer than IP", false, func(p *packet) { p.UDPLen = 8 + 68 }, xdpDrop, "drop-bad-ip"},
		{"UDP longer than IP", true, func(p *packet) { p.UDPLen = 8 + 68 }, xdpDrop, "drop-bad-ip"},
		{"UDP shorter than its header", false, func(p *packet) { p.UDPLen = 7 }, xdpDrop, "drop-bad-ip"},
		{"jumbogram", true, func(p *packet) { p.UDPLen = 0 }, xdpDrop, "drop-bad-ip"},
		{"UDP shorter than IP", false, func(p *packet) { p.UDPLen = 8 + 66 }, xdpDrop, "drop-malformed reason:truncated"},

		{"port 0", false, func(p *packet) { p.Src = netip.AddrPortFrom(p.Src.Addr(), 0) }, xdpDrop, "drop-bad-source reason:hello cookie:none"},
		{"from a group's MAC", false, func(p *packet) { p.MACs[6] |= 1 }, xdpDrop, "drop-bad-source reason:hello cookie:none"},
		{"to a group's MAC", true, func(p *packet) { p.MACs[0] |= 1 }, xdpDrop, "drop-bad-source reason:hello cookie:none"},
	} {
		p := newPacket(firstHello)
		if c.v6 {
			p = newPacket6(firstHello)
		}
		check(t, g, c.name, step{with(p, c.change), c.action, c.moved})
	}
}

func TestNoAnswerToBadSources(t *testing.T) {
	g := guarding(t, inline())
	const dropped = "drop-bad-source reason:hello cookie:none"
	for _, a := range []string{"0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "198.18.0.1"} {
		p := with(newPacket(firstHello), func(p *packet) { p.Src = netip.AddrPortFrom(netip.MustParseAddr(a), 4000) })
		check(t, g, a, step{p, xdpDrop, dropped})
	}
	for _, a := range []string{"::", "::1", "ff02::1", "2001:db8::1"} {
		p := with(newPacket6(firstHello), func(p *packet) { p.Src = netip.AddrPortFrom(netip.MustParseAddr(a), 4000) })
		check(t, g, a, step{p, xdpDrop, dropped})
	}
	for _, a := range []string{"224.0.1.187", "239.255.255.255"} {
		p := with(newPacket(firstHello), func(p *packet) { p.Dst = netip.AddrPortFrom(netip.MustParseAddr(a), 4433) })
		check(t, g, "to "+a, step{p, xdpDrop, dropped})
	}
	p := with(newPacket6(firstHello), func(p *packet) { p.Dst = netip.MustParseAddrPort("[ff02::fd]:4433") })
	check(t, g, "to ff02::fd", step{p, xdpDrop, dropped})
}

// IPv6 packets that claim v4-mapped addresses are no way into an IPv4 peer's flow.
func TestMappedAddresses(t *testing.T) {
	g := guarding(t, inline())
	peer := netip.AddrPortFrom(netip.AddrFrom16(client4.Addr().As16()), client4.Port())
	from := func(payload []byte) *packet { return with(newPacket6(payload), func(p *packet) { p.Src = peer }) }
	to := with(newPacket6(appData), func(p *packet) { p.Dst = netip.AddrPortFrom(netip.AddrFrom16(server4.Addr().As16()), 4433) })
	check(t, g, "mapped",
		step{newPacket(second(testRing.Current(), client4, 4433)), xdpPass, valid},
		step{newPacket(appData), xdpPass, "pass-flow reason:encrypted"},
		step{from(appData), xdpDrop, "drop-bad-ip"},
		step{from(firstHello), xdpDrop, "drop-bad-ip"},
		step{to, xdpDrop, "drop-bad-ip"})
}

func TestIPFragments(t *testing.T) {
	g := guarding(t, inline())
	ring := testRing.Current()
	frag4 := func(payload []byte, frag uint16, id uint32) *packet {
		return with(newPacket(payload), func(p *packet) { p.Frag, p.ID = frag, id })
	}
	// A later fragment of anything; what it claims to hold does not matter.
	rest := func(id uint32) *packet { return frag4(make([]byte, 40), 10, id) }
	long := hellotest.New()
	long.Tail = append(long.Tail, make([]byte, 100)...)
	whole := long.Bytes()
	head := frag4(whole[:len(whole)-60], 0x2000, 1)
	head.UDPLen, head.Whole = 8+len(whole), whole
	proven := with(frag4(second(ring, client4, 4433), 0x2000, 2), func(p *packet) { p.UDPLen = 8 + 150 })
	data := frag4(appData, 0x2000, 3)
	check(t, g, "IPv4",
		step{head, xdpTx, answered},
		step{rest(1), xdpDrop, "drop-fragment"},
		step{data, xdpDrop, "drop-unverified reason:encrypted"},
		step{rest(3), xdpDrop, "drop-fragment"},
		step{proven, xdpPass, valid},
		step{rest(2), xdpPass, "pass-fragment"},
		step{rest(1), xdpDrop, "drop-fragment"},
		step{data, xdpPass, "pass-flow reason:encrypted"},
		step{rest(3), xdpPass, "pass-fragment"},
		step{with(frag4(firstHello[:40], 0x2000, 5), func(p *packet) { p.UDPLen = 8 + len(firstHello) }), xdpDrop, "drop-fragment"},
	)
	other := frag4(appData, 0x2000, 9)
	other.Dst = netip.AddrPortFrom(other.Dst.Addr(), 53)
	check(t, g, "to another port", step{rest(9), xdpDrop, "drop-fragment"}, step{other, xdpPass, untouched}, step{rest(9), xdpPass, "pass-fragment"})

	frag6 := func(payload []byte, frag uint16, id uint32) *packet {
		return with(newPacket6(payload), func(p *packet) { p.FragHeader, p.Frag, p.ID = true, frag, id })
	}
	check(t, g, "IPv6",
		step{frag6(firstHello, 1, 1), xdpTx, answered},
		step{frag6(appData, 80, 1), xdpDrop, "drop-fragment"},
		step{frag6(second(ring, client6, 4433), 1, 0x10002), xdpPass, valid},
		step{frag6(appData, 80, 0x10002), xdpPass, "pass-fragment"},
		step{frag6(appData, 80, 2), xdpDrop, "drop-fragment"},
	)
	one := guarding(t, Service{ServiceKey: ServiceKey{server4.Addr(), 4433}, Answer: AnswerXDP})
	p := rest(1)
	p.Dst = netip.MustParseAddrPort("198.18.0.2:1")
	check(t, one, "to an address without a service", step{p, xdpPass, untouched}, step{rest(1), xdpDrop, "drop-fragment"})
}

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
	// Old epoch, wrong cookie: answered under the new key, which then opens the door.
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

func TestNoSecretNoAnswer(t *testing.T) {
	g := load(t, Options{})
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	check(t, g, "no secret", step{newPacket(firstHello), xdpDrop, "drop-daemon-lost reason:hello cookie:none"},
		step{newPacket(hellotestZeroCookie()), xdpDrop, "drop-daemon-lost reason:hello cookie:expired"})
}

// hellotestZeroCookie has a cookie that a keyring of zeroes would have to look at.
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
	s.ServiceRate, s.AnswerRate = Rate{}, Rate{PerSecond: 1e-6, Burst: 1}
	g = guarding(t, s)
	pinned(t, func() {
		check(t, g, "answers", step{newPacket(firstHello), xdpTx, answered},
			step{newPacket(firstHello), xdpDrop, "drop-answer-rate reason:hello cookie:none"})
	})
}

func TestMonitor(t *testing.T) {
	s := inline()
	s.Monitor = true
	g := guarding(t, s)
	check(t, g, "monitor", step{newPacket(firstHello), xdpPass, answered},
		step{newPacket(malformed), xdpPass, "drop-malformed reason:truncated"},
		step{newPacket(appData), xdpPass, "drop-unverified reason:encrypted"})
}

func TestServices(t *testing.T) {
	g := guarding(t,
		Service{ServiceKey: ServiceKey{server4.Addr(), 4433}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{netip.IPv4Unspecified(), 4433}, Answer: AnswerNobody},
		Service{ServiceKey: ServiceKey{server6.Addr(), 4433}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{server4.Addr(), 5684}, Answer: AnswerXDP},
		Service{ServiceKey: ServiceKey{netip.IPv6Unspecified(), 5685}, Answer: AnswerNobody})
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

// Flows of a service that was deleted do not open another one in its place.
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
	if err := g.SetWorkers([]int{0}); err != nil {
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
	if n, err := g.VerifiedFlows(); n != 1 || err != nil {
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
	if err := g.SetWorkers([]int{0}); err != nil {
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
	if err := g.SetWorkers([]int{1}); err != nil {
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
