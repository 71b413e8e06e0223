package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/cookie"
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

// step is one packet and its expected outcome.
type step struct {
	packet *packet
	action uint32
	moved  string
}

func with(p *packet, change func(*packet)) *packet { change(p); return p }

func check(t *testing.T, g *Programs, name string, steps ...step) {
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
	routed := extension{43, append([]byte{4, 1, 0, 0, 0, 0}, make([]byte, 16)...)}
	elsewhere4, elsewhere6 := netip.MustParseAddrPort("198.18.0.2:4433"), netip.MustParseAddrPort("[2001:db8::2]:4433")
	// outer4 is an IPv4 header around a packet that is shorter than it says.
	outer4 := func(protocol byte) []byte {
		h := []byte{0x45, 0, 0, 100, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 18, 9, 9, 198, 18, 9, 8}
		binary.BigEndian.PutUint16(h[10:], checksum(0, h))
		return h
	}
	one := inline()
	one.Address = server4.Addr()
	six := one
	six.Address, six.WorkersPort = server6.Addr(), 4445
	g := guarding(t, one, six)
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
		{"four tags", false, func(p *packet) { p.VLANs = []uint16{0x88a8, 0x8100, 0x8100, 0x8100} }, xdpTx, answered},
		{"five tags", false, func(p *packet) { p.VLANs = slices.Repeat([]uint16{0x8100}, 5) }, xdpDrop, "drop-unseen"},
		{"five tags", true, func(p *packet) { p.VLANs = slices.Repeat([]uint16{0x8100}, 5) }, xdpDrop, "drop-unseen"},
		{"wrong checksum of the header", false, func(p *packet) { p.BadHeader = true }, xdpDrop, "drop-bad-ip"},
		{"wrong checksum of options", false, func(p *packet) { p.Options, p.BadHeader = []byte{1, 1, 1, 0}, true }, xdpDrop, "drop-bad-ip"},
		{"no UDP checksum", true, func(p *packet) { p.NoChecksum = true }, xdpDrop, "drop-bad-ip"},
		{"no UDP checksum", false, func(p *packet) { p.NoChecksum = true }, xdpTx, answered},
		// A local sender's checksum is not yet that of the payload: the stack verifies it after the programs (docs/xdp.md).
		{"wrong UDP checksum", false, func(p *packet) { p.BadUDP = true }, xdpTx, answered},
		{"wrong UDP checksum", true, func(p *packet) { p.BadUDP = true }, xdpTx, answered},
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
		{"payload of length 0 after hop-by-hop options", true, func(p *packet) { p.Extensions, p.TotalLen = []extension{hop}, 0 }, xdpDrop, "drop-bad-ip"},
		{"routed to where it says", true, func(p *packet) { p.Extensions = []extension{routed} }, xdpTx, answered},
		{"routed elsewhere", true, func(p *packet) { p.Extensions, p.Dst = []extension{routed}, elsewhere6 }, xdpDrop, "drop-extensions"},
		{"source route elsewhere", false, func(p *packet) { p.Options, p.Dst = make([]byte, 8), elsewhere4 }, xdpDrop, "drop-extensions"},
		{"a chain that ends in a later fragment", true, func(p *packet) { p.Extensions, p.TotalLen = []extension{options}, 8 }, xdpDrop, "drop-extensions"},
		{"PPPoE", false, func(p *packet) { p.Link = []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 97, 0, 0x21} }, xdpDrop, "drop-encapsulated"},
		{"PPPoE", true, func(p *packet) { p.Link = []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 117, 0x57} }, xdpDrop, "drop-encapsulated"},
		{"PPPoE of something else", false, func(p *packet) { p.Link = []byte{0x88, 0x64, 0x11, 0, 0, 1, 0, 97, 0xc0, 0x21} }, xdpPass, untouched},
		{"MPLS", false, func(p *packet) { p.Link = []byte{0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64} }, xdpDrop, "drop-encapsulated"},
		{"MPLS to another port", true, func(p *packet) {
			p.Link, p.Dst = []byte{0x88, 0x47, 0, 1, 1, 64}, netip.AddrPortFrom(p.Dst.Addr(), 53)
		}, xdpPass, untouched},
		{"nine labels", false, func(p *packet) { p.Link = append([]byte{0x88, 0x47}, bytes.Repeat([]byte{0, 1, 0, 64}, 9)...) }, xdpDrop, "drop-unseen"},
		{"IPv4 in IPv4", false, func(p *packet) { p.Link = append([]byte{8, 0}, outer4(4)...) }, xdpDrop, "drop-encapsulated"},
		{"IPv6 in IPv4", true, func(p *packet) { p.Link = append([]byte{8, 0}, outer4(41)...) }, xdpDrop, "drop-encapsulated"},
		{"no IP", false, func(p *packet) { p.EtherType = 0x0806 }, xdpPass, untouched},
		{"version and type differ", false, func(p *packet) { p.EtherType = 0x86dd }, xdpPass, untouched},
		{"version and type differ", true, func(p *packet) { p.EtherType = 0x0800 }, xdpPass, untouched},
		{"IP longer than the frame", false, func(p *packet) { p.TotalLen = 500 }, xdpPass, untouched},
		{"IP longer than the frame", true, func(p *packet) { p.TotalLen = 500 }, xdpPass, untouched},
		{"IP shorter than UDP", false, func(p *packet) { p.TotalLen = 20 + 7 }, xdpDrop, "drop-extensions"},
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

// No answer goes to an address that cannot have asked, whatever the answer: a HelloVerifyRequest, a HelloRetryRequest, or the
// alert that a valid cookie gets.
func TestNoAnswerToBadSources(t *testing.T) {
	retry := hellotest.Retries()[0].Hello
	proof := func(src netip.AddrPort) []byte { return second(testRing.Current(), src, 4433) }
	for _, c := range []struct {
		name      string
		admission Admission
		hello     func(src netip.AddrPort) []byte
		cookie    string
	}{
		{"HelloVerifyRequest", Admission{}, func(netip.AddrPort) []byte { return firstHello }, "none"},
		{"HelloRetryRequest", Admission{Reset: true, DTLS13: true}, func(netip.AddrPort) []byte { return retry }, "none"},
		{"alert", Admission{Reset: true, DTLS12: true}, proof, "valid"},
		{"alert in DTLS 1.3", Admission{Reset: true, DTLS13: true}, proof13, "valid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := inline()
			s.Admission = c.admission
			g := guarding(t, s)
			dropped := "drop-bad-source reason:hello cookie:" + c.cookie
			from := func(a string, port uint16) *packet {
				src := netip.AddrPortFrom(netip.MustParseAddr(a), port)
				p := newPacket(c.hello(src))
				if src.Addr().Is6() {
					p = newPacket6(c.hello(src))
				}
				return with(p, func(p *packet) { p.Src = src })
			}
			for _, a := range []string{"0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "198.18.0.1",
				"::", "::1", "ff02::1", "2001:db8::1"} {
				check(t, g, a, step{from(a, 4000), xdpDrop, dropped})
			}
			for _, a := range []string{"192.0.2.9", "2001:db8::9"} {
				check(t, g, "port 0 of "+a, step{from(a, 0), xdpDrop, dropped})
				broadcast := with(from(a, 4000), func(p *packet) { p.MACs[0] |= 1 })
				check(t, g, "broadcast by "+a, step{broadcast, xdpDrop, dropped})
			}
			for _, a := range []string{"224.0.1.187", "239.255.255.255"} {
				p := with(from("192.0.2.9", 4000), func(p *packet) { p.Dst = netip.AddrPortFrom(netip.MustParseAddr(a), 4433) })
				check(t, g, "to "+a, step{p, xdpDrop, dropped})
			}
			p := with(from("2001:db8::9", 4000), func(p *packet) { p.Dst = netip.MustParseAddrPort("[ff02::fd]:4433") })
			check(t, g, "to ff02::fd", step{p, xdpDrop, dropped})
		})
	}
}

// proof13 is a second ClientHello of DTLS 1.3 from src with a valid cookie of the guard's.
func proof13(src netip.AddrPort) []byte {
	b := hellotest.New()
	b.MessageSeq, b.RecordSeq = 1, 1
	binding := cookie.Bind(src, 4433, b.Version, &b.Random)
	binding.Purpose = cookie.HelloRetry
	c := testRing.Current().Issue(&binding)
	b.Tail = hellotest.Tail13(hellotest.Cookie13(c[:]...))
	return b.Bytes()
}

// IPv6 packets with v4-mapped addresses do not match an IPv4 peer's flow.
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

// noEarlyFragments uses up what later fragments may come before their first.
func noEarlyFragments(t *testing.T, g *Programs) {
	t.Helper()
	if err := g.maps.FragmentBucket.Put(uint32(0), ^uint64(0)>>2); err != nil {
		t.Fatal(err)
	}
}

func TestIPFragments(t *testing.T) {
	g := guarding(t, inline())
	noEarlyFragments(t, g)
	ring := testRing.Current()
	frag4 := func(payload []byte, frag uint16, id uint32) *packet {
		return with(newPacket(payload), func(p *packet) { p.Frag, p.ID = frag, id })
	}
	// A later fragment; its contents do not matter.
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
	noEarlyFragments(t, one)
	check(t, one, "to an address without a service", step{p, xdpPass, untouched}, step{rest(1), xdpDrop, "drop-fragment"})
}
