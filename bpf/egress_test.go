package bpf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
)

// send runs the egress program on a frame of the server.
func send(t *testing.T, g *Programs, p *packet) []byte {
	t.Helper()
	frame := p.bytes()
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64)}
	action, err := g.progs.Egress.Run(&o)
	if err != nil {
		t.Fatal(err)
	}
	if next := ^uint32(0); action != next {
		t.Errorf("action %d, want TCX_NEXT", int32(action))
	}
	return o.DataOut
}

// back turns p round.
func back(p *packet) *packet { p.Src, p.Dst = p.Dst, p.Src; return p }

func TestEgressLearns(t *testing.T) {
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		g := guarding(t, inline())
		learn := func(p *packet, want string) {
			t.Helper()
			before := counters(t, g)
			if out := send(t, g, back(p)); !bytes.Equal(out, p.bytes()) {
				t.Errorf("%s: the frame was changed", name)
			}
			if got := moved(t, g, before); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		const dropped = "drop-unverified reason:encrypted"
		check(t, g, name, step{make(appData), xdpDrop, dropped})
		learn(make(alert), "egress:plain")
		learn(make(firstHello), "egress:plain")
		learn(make(stun), "egress:plain")
		learn(make(appData[:12]), "egress:plain")
		check(t, g, name, step{make(appData), xdpDrop, dropped})
		p := make(appData)
		p.Dst = netip.AddrPortFrom(p.Dst.Addr(), 53)
		learn(p, "")
		check(t, g, name, step{make(appData), xdpDrop, dropped})
		p = make(appData)
		p.VLANs = []uint16{0x88a8, 0x8100}
		learn(p, "egress:learned")
		learn(make(appData), "egress:established")
		check(t, g, name, step{make(appData), xdpPass, "pass-flow reason:encrypted"}, step{make(alert), xdpPass, "pass-flow reason:not-hello"})
		flows := 0
		if err := g.Flows(func(f Flow) bool {
			flows++
			if f.Peer != make(nil).Src || !f.Established || f.Service != inline().ServiceKey {
				t.Errorf("%s: flow %+v", name, f)
			}
			return true
		}); err != nil || flows != 1 {
			t.Errorf("%s: %d flows, %v", name, flows, err)
		}
	}
	g := guarding(t, inline())
	for _, record := range [][]byte{
		{0x2f, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}, // DTLS 1.3 unified header
		{25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 9, 9},
	} {
		p := newPacket(record)
		p.Src = netip.AddrPortFrom(p.Src.Addr(), uint16(record[0]))
		before := counters(t, g)
		send(t, g, back(p))
		if got := moved(t, g, before); got != "egress:learned" {
			t.Errorf("record %x: %s", record, got)
		}
	}
}

// withCookie is a ClientHello that a worker has verified, helloVerify the head of its answer to another.
var (
	withCookie  = secondHello(20)
	helloVerify = []byte{22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 35, 3, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 23, 0xfe, 0xff, 20}
)

func secondHello(cookie int) []byte {
	b := hellotest.New()
	b.Cookie, b.MessageSeq, b.RecordSeq = make([]byte, cookie), 1, 1
	return b.Bytes()
}

// A ClientHello that a worker sends to a client goes to the server, as if it came from the client; an answer does not.
func TestEgressTurnsHellos(t *testing.T) {
	g := guarding(t, inline())
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		for _, vlans := range [][]uint16{nil, {0x8100}} {
			want := make(withCookie)
			want.VLANs = vlans
			p := back(make(withCookie))
			p.VLANs = vlans
			copy(p.MACs[:6], want.MACs[6:])
			copy(p.MACs[6:], want.MACs[:6])
			p.Src = netip.AddrPortFrom(p.Src.Addr(), 4444)
			before := counters(t, g)
			o := ebpf.RunOptions{Data: p.bytes(), DataOut: append([]byte(nil), p.bytes()...)}
			action, err := g.progs.Egress.Run(&o)
			if err != nil {
				t.Fatal(err)
			}
			const redirect = 7 // TC_ACT_REDIRECT
			if action != redirect {
				t.Errorf("%s: action %d, want a redirection", name, int32(action))
			}
			if !bytes.Equal(o.DataOut, want.bytes()) {
				t.Errorf("%s: to the server\n% x, want\n% x", name, o.DataOut, want.bytes())
			}
			if got := moved(t, g, before); got != "egress:reinjected" {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
}

// The workers' port is reserved at the protected address only: another address of this host, or a router's clients, may use it.
func TestOtherAddressesKeepTheWorkersPort(t *testing.T) {
	one := inline()
	one.Address = server4.Addr()
	six := one
	six.Address, six.WorkersPort = server6.Addr(), 4445
	g := guarding(t, one, six)
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		other := netip.MustParseAddrPort("198.18.0.77:4444")
		if name == "IPv6" {
			other = netip.MustParseAddrPort("[2001:2:0:1::77]:4445")
		}
		for _, datagram := range [][]byte{helloVerify, appData, firstHello} {
			out := make(datagram)
			out.Src = other
			if got := send(t, g, out); !bytes.Equal(got, out.bytes()) {
				t.Errorf("%s: what another address sends from the port is changed to\n% x", name, got)
			}
			in := make(datagram)
			in.Dst = other
			if action, got := run(t, g, in.bytes()); action != xdpPass || !bytes.Equal(got, in.bytes()) {
				t.Errorf("%s: what comes to another address's port: action %d\n% x", name, action, got)
			}
		}
	}
}

func TestEgressRewritesWorkersPort(t *testing.T) {
	g := guarding(t, inline())
	for name, make := range map[string]func([]byte) *packet{"IPv4": newPacket, "IPv6": newPacket6} {
		p := back(make(helloVerify))
		want := p.bytes()
		p.Src = netip.AddrPortFrom(p.Src.Addr(), 4444)
		before := counters(t, g)
		if out := send(t, g, p); !bytes.Equal(out, want) {
			t.Errorf("%s: sent\n% x, want\n% x", name, out, want)
		}
		if got := moved(t, g, before); got != "egress:rewritten" {
			t.Errorf("%s: %s", name, got)
		}
	}
	// A datagram without a checksum stays without one.
	p := back(newPacket(helloVerify))
	p.Src = netip.AddrPortFrom(p.Src.Addr(), 4444)
	frame := p.bytes()
	frame[40], frame[41] = 0, 0
	o := ebpf.RunOptions{Data: frame, DataOut: make([]byte, 512)}
	if _, err := g.progs.Egress.Run(&o); err != nil {
		t.Fatal(err)
	}
	if o.DataOut[40] != 0 || o.DataOut[41] != 0 || o.DataOut[34] != 4433>>8 || o.DataOut[35] != 4433&0xff {
		t.Errorf("UDP header % x", o.DataOut[34:42])
	}
}

// protectedByRule is protected_record of egress.h, from the records of a datagram.
func protectedByRule(d []byte) bool {
	for range 10 {
		if len(d) < 13 || d[0] < 20 || d[0] > 63 {
			return false
		}
		epoch, end := binary.BigEndian.Uint16(d[3:]), 13+int(binary.BigEndian.Uint16(d[11:]))
		switch {
		case d[0] >= 32: // RFC 9147 section 4: unified header
			return d[0]&3 != 2
		case d[0] == 25, epoch > 0 && d[0] != 21:
			return true
		case epoch > 0:
			return false
		}
		d = d[min(end, len(d)):]
	}
	return false
}

// aRecord returns a record of the given type and epoch with n bytes.
func aRecord(contentType byte, epoch uint16, n int) []byte {
	r := append([]byte{contentType, 0xfe, 0xfd, byte(epoch >> 8), byte(epoch), 0, 0, 0, 0, 0, 1}, byte(n>>8), byte(n))
	return append(r, make([]byte, n)...)
}

// A server's Finished counts anywhere in its datagram, after a ChangeCipherSpec or at the end of a flight; an alert does not.
func TestEgressFindsFinished(t *testing.T) {
	var (
		hs       = func(n int) []byte { return aRecord(22, 0, n) }
		ccs      = aRecord(20, 0, 1)
		finished = aRecord(22, 1, 40)
		cut      = aRecord(22, 0, 1<<14)[:200]
	)
	g := guarding(t, inline())
	for i, c := range []struct {
		records [][]byte
		want    bool
	}{
		{[][]byte{ccs, finished}, true},
		{[][]byte{hs(200), ccs, finished}, true}, // with a NewSessionTicket
		{[][]byte{hs(90), hs(300), hs(300), hs(300), hs(9), hs(90), hs(20), hs(100), ccs, finished}, true},
		{[][]byte{hs(90), hs(300), hs(12)}, false},
		{[][]byte{ccs}, false},
		{[][]byte{ccs, aRecord(21, 1, 30)}, false},
		{[][]byte{aRecord(21, 1, 30), aRecord(23, 1, 30)}, false}, // nothing follows an alert
		{[][]byte{hs(90), {0x2e, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}}, false},
		{[][]byte{hs(90), {0x2f, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}}, true},
		{[][]byte{cut, finished}, false},
		{[][]byte{hs(90), finished[:12]}, false},
	} {
		d := bytes.Join(c.records, nil)
		if protectedByRule(d) != c.want {
			t.Errorf("case %d: the rule says %v", i, !c.want)
		}
		before, want := counters(t, g), "egress:plain"
		if c.want {
			want = "egress:learned"
		}
		send(t, g, back(from(newPacket(d), peer(i))))
		if got := moved(t, g, before); got != want {
			t.Errorf("case %d: %s, want %s", i, got, want)
		}
	}
}

// The program and the rule agree on random datagrams.
func TestEgressDifferential(t *testing.T) {
	s := inline()
	s.Proxy, s.WorkersPort = true, 0 // nothing is learned there
	g := guarding(t, s)
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...int) int { return from[random.IntN(len(from))] }
	found := 0
	for i := range 1 << 11 {
		var d []byte
		for range random.IntN(13) {
			r := aRecord(byte(pick(20, 21, 22, 22, 22, 22, 23, 25, 19, 32, 46, 47, 63, 64)), uint16(pick(0, 0, 0, 0, 0, 0, 1, 256)), pick(0, 1, 2, 40, 300))
			if random.IntN(20) == 0 {
				r[random.IntN(len(r))] ^= byte(1 << random.IntN(8))
			}
			d = append(d, r...)
		}
		d = d[:min(len(d), 1400)]
		if random.IntN(4) == 0 {
			d = d[:random.IntN(len(d)+1)]
		}
		want := "egress:plain"
		if protectedByRule(d) {
			want = "egress:established"
			found++
		}
		before := counters(t, g)
		send(t, g, back(newPacket(d)))
		if got := moved(t, g, before); got != want {
			t.Fatalf("datagram %d, %x: %s, want %s", i, d, got, want)
		}
	}
	if found < 250 {
		t.Errorf("%d datagrams have a protected record", found)
	}
}

// In an abbreviated handshake a server's Finished comes first, and goes to whoever resumes a session of his own from a forged
// address. So does the first flight of DTLS 1.3. Neither proves the address; application data does.
func TestEgressProvesByDataAlone(t *testing.T) {
	g := guarding(t, admitting(Admission{Reset: true, Load: true, DTLS12: true, DTLS13: true}, FormatV1))
	need(t, g.SetAddressLifetime(time.Hour))
	memory, key, err := g.Addresses()
	need(t, err)
	set := addresses.SetOf(memory, key, 3600)
	record := func(kind, epoch byte) []byte { return []byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 2, 1, 2} }
	finished, data := record(22, 1), record(23, 1)
	for i, c := range []struct {
		name     string
		datagram []byte
		proved   bool
	}{
		{"Finished", finished, false},
		{"ChangeCipherSpec, Finished", append(record(20, 0), finished...), false},
		{"connection ID", record(25, 1), false},
		{"first flight of DTLS 1.3", []byte{0x2e, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}, false},
		{"data", data, true},
		{"ACK, data", append(record(26, 0), data...), true},
		{"data of DTLS 1.3", []byte{0x2f, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8}, true},
	} {
		p := newPacket(c.datagram)
		p.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 77, byte(i)}), 5000)
		for range 2 { // once more when the flow is established
			send(t, g, back(p))
			back(p)
			ip := p.Src.Addr().As16()
			if got := set.Has(&ip, addresses.Seconds(int64(monotonic()))); got != c.proved {
				t.Errorf("%s: proved %v, want %v", c.name, got, c.proved)
			}
		}
	}
}
