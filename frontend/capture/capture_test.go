package capture

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// record is a DTLS 1.2 record with a body of n bytes.
func record(contentType, epoch byte, n int) []byte {
	return append([]byte{contentType, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, byte(n)}, make([]byte, n)...)
}

func TestApplicationDataIsNotVisible(t *testing.T) {
	flight := bytes.Join([][]byte{record(22, 0, 20), record(20, 0, 1)}, nil)
	for name, c := range map[string]struct {
		datagram []byte
		passed   bool
		want     int
	}{
		"a handshake message":           {record(22, 0, 50), true, 63},
		"a flight before its Finished":  {bytes.Join([][]byte{flight, record(22, 1, 40)}, nil), true, len(flight) + 13},
		"application data":              {record(23, 1, 100), true, 13},
		"... of a flow that is unknown": {record(23, 1, 100), false, 13},
		"... that claims to be epoch 0": {record(23, 0, 100), true, 13},
		"with a connection ID":          {record(25, 1, 100), true, 13},
		"... after a handshake message": {append(record(22, 0, 4), record(23, 1, 9)...), true, 17 + 13},
		"a DTLS 1.3 record":             {[]byte{0x2f, 0, 1, 2, 3, 4, 5}, true, 1},
		"another protocol that passes":  {[]byte("\x00\x01STUN"), true, 0},
		"junk that is dropped":          {[]byte("\xff\xff\xff\xff"), false, 4},
		"cut in a record's header":      {[]byte{22, 0xfe, 0xfd}, false, 3},
		"cut in a record":               {record(22, 0, 50)[:40], false, 40},
		"empty":                         {nil, false, 0},
	} {
		if got := Visible(c.datagram, c.passed); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

func TestHeadersAreRight(t *testing.T) {
	data := []byte("odd length!")
	type pair struct {
		from, to string
		link     layers.LinkType
	}
	for _, c := range []pair{
		{"192.0.2.1:1234", "198.51.100.2:4433", layers.LinkTypeRaw}, {"[2001:db8::1]:1234", "[2001:db8::2]:4433", layers.LinkTypeRaw},
		{"192.0.2.1:1234", "198.51.100.2:4433", layers.LinkTypeEthernet}, {"[2001:db8::1]:1234", "[2001:db8::2]:4433", layers.LinkTypeEthernet},
	} {
		from, to := netip.MustParseAddrPort(c.from), netip.MustParseAddrPort(c.to)
		b := make([]byte, 62, 100)
		b = b[:PutHeaders(b, c.link == layers.LinkTypeEthernet, from, to, len(data), data)]
		p := gopacket.NewPacket(append(b, data...), c.link, gopacket.Default)
		udp, ok := p.TransportLayer().(*layers.UDP)
		if !ok || p.ErrorLayer() != nil {
			t.Fatalf("%v: no UDP: %v", from, p.ErrorLayer())
		}
		source, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Src().Raw())
		if source != from.Addr() || uint16(udp.SrcPort) != 1234 || uint16(udp.DstPort) != 4433 || string(udp.Payload) != string(data) {
			t.Errorf("%v to %v: %v", from, to, p)
		}
		if err := udp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, mismatches := p.VerifyChecksums(); err != nil || len(mismatches) > 0 {
			t.Errorf("%v: wrong checksums: %v, %v", from, mismatches, err)
		}
	}
}

func TestFileHasComments(t *testing.T) {
	var b bytes.Buffer
	w, err := NewWriter(&b, Options{Program: "test", Interface: "eth0", Ethernet: true, Snap: 512})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 123456789)
	for _, p := range []Packet{
		{At: at, Origin: XDP, Length: 1000, Data: make([]byte, 60), Service: "turn", Verdict: "dropped", Reason: "unverified", Datagram: "encrypted"},
		{At: at, Origin: Workers, Data: make([]byte, 33), Service: "turn", Verdict: "answered"},
	} {
		if err := w.Write(&p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(XDP, 7); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(&b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"verdict=dropped reason=unverified datagram=encrypted service=turn", "verdict=answered service=turn"} {
		_, info, options, err := r.ReadPacketDataWithOptions()
		if err != nil || len(options.Comments) != 1 || options.Comments[0] != want || !info.Timestamp.Equal(at) {
			t.Errorf("%v: %q at %v, want %q at %v", err, options.Comments, info.Timestamp, want, at)
		}
	}
}
