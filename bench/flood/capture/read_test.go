package capture

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Captured with netsniff-ng on loopback, complete conversations with openssl s_server -listen: openssl s_client 3.0, and
// gnutls-cli 3.7 --mtu 200.
const (
	openssl   = "testdata/openssl.pcap"
	fragments = "testdata/gnutls-fragments.pcap"
)

// The first ClientHello of a conversation is found in both formats, with any link layer.
func TestReadCaptures(t *testing.T) {
	for file, want := range map[string]int{openssl: 1, fragments: 2} {
		for name, f := range map[string]string{
			"as it is":             file,
			"pcapng":               rewrite(t, file, pcapng, layers.LinkTypeEthernet, keepAll),
			"nanoseconds, bare IP": rewrite(t, file, nanoseconds, layers.LinkTypeRaw, keepAll),
			"without what follows": rewrite(t, file, pcapng, layers.LinkTypeRaw, func(_ int, _ uint8, d []byte) bool { return d[0] == 22 && d[13] == 1 }),
			"BSD loopback":         rewrite(t, file, pcapng, layers.LinkTypeNull, keepAll),
		} {
			all, err := Read(f)
			if err != nil || len(all) != want {
				t.Errorf("%s %s: %d datagrams, want %d: %v", file, name, len(all), want, err)
				continue
			}
			var h hello.ClientHello
			if r := hello.Parse(all[0], &h); r != hello.OK || len(h.Cookie) != 0 {
				t.Errorf("%s %s: the first is %v with a cookie of %d bytes", file, name, r, len(h.Cookie))
			}
			if end(all[want-1]) != length(all[0]) {
				t.Errorf("%s %s: ends at %d of %d", file, name, end(all[want-1]), length(all[0]))
			}
			if _, err := traffic.Hello(all...); err != nil {
				t.Errorf("%s %s: %v", file, name, err)
			}
		}
	}
}

func TestReadCapturesWithoutHello(t *testing.T) {
	whole, err := os.ReadFile(openssl)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(n int) string { return write(t, string(whole[:n])) }
	none := func(int, uint8, []byte) bool { return false }
	for name, c := range map[string]struct{ file, want string }{
		"nothing":         {rewrite(t, openssl, pcapng, layers.LinkTypeRaw, none), "no ClientHello of DTLS in its 0 packets"},
		"other packets":   {rewrite(t, openssl, pcapng, layers.LinkTypeRaw, func(_ int, _ uint8, d []byte) bool { return d[13] != 1 }), "no ClientHello of DTLS in its"},
		"cookies only":    {rewrite(t, openssl, nanoseconds, layers.LinkTypeRaw, func(_ int, mseq uint8, d []byte) bool { return mseq == 1 }), "have a cookie"},
		"half":            {rewrite(t, fragments, pcapng, layers.LinkTypeRaw, func(i int, _ uint8, _ []byte) bool { return i == 0 }), "the last is missing"},
		"cut in a packet": {cut(100), "packet 1: "},
		"cut in its head": {cut(20), "open as pcap: "},
		"ng, cut":         {write(t, "\x0a\x0d\x0d\x0a\x00\x00"), "open as pcapng: "},
		"pcap in name":    {write(t, "pcap"), "neither pcap nor pcapng"},
		"empty":           {write(t, ""), "is empty"},
		"blank":           {write(t, " \n"), "is blank"},
	} {
		if all, err := Read(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d datagrams, %v, want %q", name, len(all), err, c.want)
		}
	}
}

// Fragments are assembled in spite of retransmissions and of other senders.
func TestFragments(t *testing.T) {
	f := &traffic.Flow{
		Interface: &net.Interface{HardwareAddr: make([]byte, 6)}, Peer: make([]byte, 6),
		Destination: netip.MustParseAddrPort("198.18.0.1:4433"), Sources: netip.MustParsePrefix("198.18.128.0/17"),
	}
	fragment := func(offset, length int) []byte {
		b := hellotest.New()
		b.Tail = append(b.Tail, make([]byte, 300)...)
		b.FragmentOffset, b.FragmentLength = offset, length
		return b.Bytes()
	}
	whole := len(fragment(0, -1)) - 25 // after the headers
	parts := [][]byte{fragment(0, 100), fragment(100, 150), fragment(250, whole-250)}
	client, other := netip.MustParseAddrPort("198.18.128.1:1000"), netip.MustParseAddrPort("198.18.128.2:1000")
	sent := [][]byte{nil, parts[1]}
	from := []netip.AddrPort{client, client}
	for _, i := range []int{0, 0, 2, 1, 1, 2} {
		sent, from = append(sent, parts[i], parts[i]), append(from, client, other)
	}
	next := 0
	got, err := firstHello(func() ([]byte, layers.LinkType, error) {
		if next == len(sent) {
			return nil, 0, io.EOF
		}
		next++
		return f.Envelope().Append(nil, from[next-1], sent[next-1]), layers.LinkTypeEthernet, nil
	})
	if err != nil || !slices.EqualFunc(got, parts, bytes.Equal) {
		t.Errorf("%x, %v, want %x", got, err, parts)
	}
}

func TestReadText(t *testing.T) {
	d := traffic.Captured("openssl-dtls12:1")
	for text, want := range map[string]int{string(d): 1, "16fe\n16ff\n": 2} {
		if all, err := Read(write(t, text)); err != nil || len(all) != want {
			t.Errorf("%.10q: %d datagrams, %v", text, len(all), err)
		}
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func keepAll(int, uint8, []byte) bool { return true }

// sink is a writer of captures.
type sink interface {
	WritePacket(gopacket.CaptureInfo, []byte) error
}

func pcapng(w io.Writer, link layers.LinkType) (sink, func() error, error) {
	n, err := pcapgo.NewNgWriter(w, link)
	return n, func() error { return n.Flush() }, err
}

func nanoseconds(w io.Writer, link layers.LinkType) (sink, func() error, error) {
	n := pcapgo.NewWriterNanos(w)
	return n, func() error { return nil }, n.WriteFileHeader(snapLen, link)
}

// rewrite copies the packets that keep selects, by number, message_seq and datagram, into a file of another format, with
// another link layer or none.
func rewrite(t *testing.T, file string, to func(io.Writer, layers.LinkType) (sink, func() error, error), link layers.LinkType, keep func(int, uint8, []byte) bool) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	next, err := open(text)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, flush, err := to(&out, link)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		data, from, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, d := datagram(data, from); !keep(i, d[18], d) {
			continue
		}
		const ethernet = 14
		switch link {
		case layers.LinkTypeRaw:
			data = data[ethernet:]
		case layers.LinkTypeNull: // the address family: AF_INET
			data = append([]byte{2, 0, 0, 0}, data[ethernet:]...)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(data), Length: len(data)}, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	return write(t, out.String())
}
