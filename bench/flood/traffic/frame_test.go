package traffic

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func testFlow(to, from string) *Flow {
	return &Flow{
		Interface: &net.Interface{HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, Peer: net.HardwareAddr{2, 0, 0, 0, 0, 2},
		Destination: netip.MustParseAddrPort(to), Sources: netip.MustParsePrefix(from),
	}
}

var testFlows = []*Flow{
	testFlow("198.18.0.1:4433", "198.18.128.0/17"), testFlow("[2001:2::1]:4433", "2001:2:0:8000::5a00:0/111"),
}

func testMix(t *testing.T, text string) Mix {
	t.Helper()
	m, err := ParseMix(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const everyKind = "hello,gnutls,mbedtls,pion,large,dtls10,wrong-cookie,junk,record"

// built is the frame as another library builds it.
func built(t *testing.T, f *Flow, source netip.AddrPort, datagram []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: f.Interface.HardwareAddr, DstMAC: f.Peer, EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(f.Destination.Port())}
	from, to := source.Addr().AsSlice(), f.Destination.Addr().AsSlice()
	var ip gopacket.SerializableLayer
	if source.Addr().Is4() {
		v4 := &layers.IPv4{Version: 4, IHL: 5, Flags: layers.IPv4DontFragment, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: from, DstIP: to}
		ip, _ = v4, udp.SetNetworkLayerForChecksum(v4)
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: from, DstIP: to}
		ip, _ = v6, udp.SetNetworkLayerForChecksum(v6)
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(datagram)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A frame equals that of another library, and splits into the same datagram again.
func TestFrames(t *testing.T) {
	odd, err := Junk(33) // the other library pads shorter ones to the minimum of Ethernet
	if err != nil {
		t.Fatal(err)
	}
	mix := append(testMix(t, everyKind), Item{"odd", 1, []Template{odd}})
	for _, f := range testFlows {
		envelope := f.Envelope()
		for random := uint64(1); random < 1000; random++ {
			source := f.Source(random * Spread)
			for _, item := range mix {
				for i := range item.Templates {
					d := item.Templates[i].Append(nil, source)
					frame := envelope.Append(nil, source, d)
					if want := built(t, f, source, d); !bytes.Equal(frame, want) {
						t.Fatalf("%s from %v\n got % x\nwant % x", item.Name, source, frame, want)
					}
				}
			}
		}
		const text = "an answer that needs no padding"
		back := *f
		back.Destination = f.Source(Spread)
		answer := built(t, &back, f.Destination, []byte(text))
		if source, d, ok := f.Answer(answer); !ok || source != back.Destination || string(d) != text {
			t.Errorf("an answer to %v was taken apart into %v, %q", back.Destination, source, d)
		}
		for n := range answer {
			if _, d, ok := f.Answer(answer[:n]); ok {
				t.Errorf("%d bytes of an answer hold %q", n, d)
			}
		}
	}
}

// A checksum of 0 would mean none; its complement is sent (RFC 768, RFC 8200 section 8.1).
func TestChecksumOfZero(t *testing.T) {
	junk, err := Junk(12)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range testFlows {
		envelope, at := f.Envelope(), f.Layout().UDPAt+6
		var d, frame []byte
		complements := 0
		for random := uint64(1); random < 1<<20; random++ { // 16 of them by chance
			source := f.Source(random * Spread)
			d = junk.Append(d[:0], source)
			frame = envelope.Append(frame[:0], source, d)
			switch binary.BigEndian.Uint16(frame[at:]) {
			case 0:
				t.Fatalf("from %v without a checksum", source)
			case 0xffff:
				complements++
			}
		}
		if complements == 0 {
			t.Errorf("to %v: no checksum of 0 came up", f.Destination)
		}
	}
}

// Nothing allocates per datagram.
func TestNoAllocations(t *testing.T) {
	mix := testMix(t, everyKind)
	for _, f := range testFlows {
		envelope := f.Envelope()
		datagram, frame := make([]byte, 0, MaxFrame), make([]byte, 0, MaxFrame)
		random := uint64(1)
		if n := testing.AllocsPerRun(100, func() {
			random *= Spread
			source := f.Source(random)
			datagram = mix.Of(source).Templates[0].Append(datagram[:0], source)
			frame = envelope.Append(frame[:0], source, datagram)
			_, _, _ = f.Answer(frame)
		}); n != 0 {
			t.Errorf("%v allocations for a datagram to %v", n, f.Destination)
		}
	}
}

// Sources are within prefix and ports, and all of them occur.
func TestSources(t *testing.T) {
	f := testFlow("198.18.0.1:4433", "198.18.7.9/30") // its host bits are ignored
	f.Ports = Ports{First: 65534, Last: 65535}
	seen := make(map[netip.AddrPort]bool)
	random := uint64(1)
	for range 200 {
		random *= Spread
		source := f.Source(random)
		seen[source] = true
		if !f.Sources.Contains(source.Addr()) || source.Port() < 65534 {
			t.Fatal(source)
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d sources, want 4 addresses with 2 ports: %v", len(seen), seen)
	}
}

// The large ClientHello is a post-quantum one: its two fragments hold a key share of X25519MLKEM768
// (draft-ietf-tls-ecdhe-mlkem section 4.1).
func TestLargeIsPostQuantum(t *testing.T) {
	const body = 25 // after the headers
	var message []byte
	for _, tp := range testMix(t, "large")[0].Templates {
		message = append(message, tp.Bytes[body:]...)
	}
	group, share := []byte{0x11, 0xec}, []byte{1216 >> 8, 1216 & 0xff}
	if at := bytes.Index(message, append(group, share...)); at < 0 || at+4+1216 > len(message) {
		t.Errorf("no key share in %x", message)
	}
}

// Items have the shares of their weights, and Thresholds agrees with Of.
func TestShares(t *testing.T) {
	mix := testMix(t, "hello=5,junk=2,record=3")
	f := testFlows[0]
	seen := make(map[string]float64)
	const n = 20000
	random := uint64(1)
	for range n {
		random *= Spread
		source := f.Source(random)
		item := mix.Of(source)
		seen[item.Name]++
		x, i := uint32(spreadOf(source)>>32), 0
		for _, until := range mix.Thresholds() {
			if x >= until {
				i++
			}
		}
		if &mix[i] != item {
			t.Fatalf("%v sends %s by Of and %s by Thresholds", source, item.Name, mix[i].Name)
		}
	}
	for name, want := range map[string]float64{"hello": 0.5, "junk": 0.2, "record": 0.3} {
		if got := seen[name] / n; got < want*0.9 || got > want*1.1 {
			t.Errorf("%s: share %.3f, want %.1f", name, got, want)
		}
	}
}
