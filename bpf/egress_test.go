package bpf

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

// send gives a frame of the server's to the egress program.
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

// The workers' port is that of the protected address alone: another address of this host, and a router's clients, may use it.
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
	// Without a checksum there is none afterwards either.
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
