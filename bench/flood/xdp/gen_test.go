package xdp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

var flows = map[string]Flow{
	"IPv4":            flow("198.18.0.1:4433", "198.18.128.0/17"),
	"IPv4, one":       flow("198.18.0.1:4433", "198.18.0.77/32"),
	"IPv4, uneven":    flow("198.18.0.1:5684", "198.18.32.0/21"),
	"IPv6":            flow("[2001:2::1]:4433", "2001:2:0:8000::/96"),
	"IPv6, some bits": flow("[2001:2::1]:4433", "2001:2:0:8000::5a00:0/111"),
}

func flow(to, from string) Flow {
	return Flow{
		Interface:   &net.Interface{Index: 1, Name: "lo", HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
		Peer:        net.HardwareAddr{2, 0, 0, 0, 0, 2},
		Destination: netip.MustParseAddrPort(to), Sources: netip.MustParsePrefix(from),
	}
}

// refused skips without privileges, where that is allowed.
func refused(t *testing.T, err error) {
	t.Helper()
	// The verifier's refusal is EACCES, which is os.ErrPermission too, but no reason to skip.
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T) func(Template, error) Template {
	return func(tp Template, err error) Template {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return tp
	}
}

// The frame is parsed by code other than that which builds it.
type parsed struct {
	source   netip.AddrPort
	datagram []byte
}

func parse(t *testing.T, f *Flow, frame []byte) parsed {
	t.Helper()
	be := binary.BigEndian
	if !bytes.Equal(frame[:6], f.Peer) || !bytes.Equal(frame[6:12], f.Interface.HardwareAddr) {
		t.Fatalf("Ethernet addresses % x", frame[:12])
	}
	ip := frame[14:]
	var source, destination netip.Addr
	var udp []byte
	switch be.Uint16(frame[12:]) {
	case 0x0800:
		if ip[0] != 0x45 || int(be.Uint16(ip[2:])) != len(ip) || ip[9] != 17 {
			t.Fatalf("IPv4 header % x in a frame of %d", ip[:20], len(frame))
		}
		if c := onesComplement(ip[:20]); c != 0xffff {
			t.Errorf("IPv4 header checksum: all add up to %#x", c)
		}
		source, destination, udp = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:])), ip[20:]
	case 0x86dd:
		if ip[0]>>4 != 6 || int(be.Uint16(ip[4:])) != len(ip)-40 || ip[6] != 17 {
			t.Fatalf("IPv6 header % x in a frame of %d", ip[:40], len(frame))
		}
		source, destination, udp = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ip[40:]
	}
	if int(be.Uint16(udp[4:])) != len(udp) {
		t.Fatalf("UDP length %d of %d", be.Uint16(udp[4:]), len(udp))
	}
	whole := append(append(source.AsSlice(), destination.AsSlice()...), 0, 17, udp[4], udp[5])
	if c := onesComplement(append(whole, udp...)); c != 0xffff || be.Uint16(udp[6:]) == 0 {
		t.Errorf("UDP checksum %#x: all add up to %#x", be.Uint16(udp[6:]), c)
	}
	if to := netip.AddrPortFrom(destination, be.Uint16(udp[2:])); to != f.Destination {
		t.Errorf("sent to %v", to)
	}
	if !f.Sources.Contains(source) {
		t.Errorf("source %v is not of %v", source, f.Sources)
	}
	return parsed{netip.AddrPortFrom(source, be.Uint16(udp)), udp[8:]}
}

// onesComplement adds 16-bit words with end-around carry (RFC 1071); the sum is 0xffff if it includes a valid checksum.
func onesComplement(b []byte) uint32 {
	var s uint32
	for i, c := range b {
		s += uint32(c) << (8 * (1 - i%2))
		s = s&0xffff + s>>16
	}
	return s
}

func templates(t *testing.T) map[string]Template {
	t.Helper()
	all := make(map[string]Template)
	for _, c := range hellotest.Captured() {
		if c.Want == hello.OK {
			all[c.Name] = must(t)(FirstHello(c.Datagram))
		}
		if c.Want == hello.OK && binary.BigEndian.Uint16(c.Datagram[15:]) == binary.BigEndian.Uint16(c.Datagram[23:]) { // not in fragments
			all[c.Name+", wrong cookie"] = must(t)(WithCookie(c.Datagram, bytes.Repeat([]byte{7}, 32)))
		}
	}
	all["junk"] = must(t)(Junk(205))
	all["junk of odd size"] = must(t)(Junk(12))
	all["longest junk"] = must(t)(Junk(traffic.MaxDatagram))
	return all
}

func TestFramesAreRight(t *testing.T) {
	for flowName, f := range flows {
		for name, tp := range templates(t) {
			t.Run(flowName+", "+name, func(t *testing.T) { checkFrames(t, &f, &tp) })
		}
	}
}

func checkFrames(t *testing.T, f *Flow, tp *Template) {
	g, err := New(*f, *tp, 0)
	refused(t, err)
	defer g.Close()
	const frames = 50
	sources := make(map[netip.AddrPort]bool)
	for range frames {
		frame, err := g.Frame()
		if err != nil {
			t.Fatal(err)
		}
		p := parse(t, f, frame)
		sources[p.source] = true
		if want := f.Datagram(tp, p.source); !bytes.Equal(p.datagram, want) {
			t.Fatalf("from %v\n got % x\nwant % x", p.source, p.datagram, want)
		}
		if want := f.AppendFrame(nil, tp, p.source); !bytes.Equal(frame, want) {
			t.Fatalf("from %v\n got % x\nwant % x of AppendFrame", p.source, frame, want)
		}
	}
	if sent, err := g.Sent(); err != nil || sent != frames {
		t.Errorf("%d frames counted as sent, want %d: %v", sent, frames, err)
	}
	// Two of 50 are equal by chance once in 27 runs with one address and 2^15 ports.
	if len(sources) < frames-3 {
		t.Errorf("%d frames had only %d sources", frames, len(sources))
	}
}

// Datagrams are what their template was made for.
func TestTemplates(t *testing.T) {
	f := flows["IPv4"]
	source := netip.MustParseAddrPort("198.18.200.3:20000")
	for name, tp := range templates(t) {
		d := f.Datagram(&tp, source)
		var h hello.ClientHello
		r := hello.Parse(d, &h)
		wantCookie := 0
		if strings.HasSuffix(name, "wrong cookie") {
			wantCookie = 32
			if d[traffic.MessageSeqAt+1] != 1 {
				t.Errorf("%s: message_seq %d", name, d[traffic.MessageSeqAt+1])
			}
		}
		switch {
		case strings.Contains(name, "junk"):
			if r != hello.NotDTLS {
				t.Errorf("%s: %v", name, r)
			}
		case r != hello.OK || len(h.Cookie) != wantCookie:
			t.Errorf("%s: %v, cookie of %d bytes", name, r, len(h.Cookie))
		}
		other := f.Datagram(&tp, netip.MustParseAddrPort("198.18.200.3:20001"))
		if bytes.Equal(d, other) {
			t.Errorf("%s: the same datagram from another port", name)
		}
	}
}

func TestBadTemplatesAndFlows(t *testing.T) {
	first := hellotest.New().Bytes()
	fragment := hellotest.New()
	fragment.FragmentLength = 36
	for name, err := range map[string]error{
		"no hello":             second(FirstHello([]byte("hello"))),
		"cookie in a fragment": second(WithCookie(fragment.Bytes(), make([]byte, 32))),
		"cookie too long":      second(WithCookie(first, make([]byte, 256))),
		"short junk":           second(Junk(11)),
		"long junk":            second(Junk(1500)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, f := range []Flow{
		flow("[2001:2::1]:4433", "198.18.128.0/17"), flow("198.18.0.1:0", "198.18.128.0/17"),
		flow("[2001:2::1]:4433", "2001:2::/64"), {},
	} {
		if _, err := New(f, Template{Bytes: first}, 0); err == nil {
			t.Errorf("a generator for %+v", f)
		}
	}
}

func second(_ Template, err error) error { return err }

// The rate is kept by skipping runs: a frame that is not due is not sent.
func TestRateLeavesOut(t *testing.T) {
	f := flows["IPv4"]
	g, err := New(f, must(t)(FirstHello(hellotest.New().Bytes())), 0)
	refused(t, err)
	defer g.Close()
	if err := g.SetRate(1.0 / 3600); err != nil { // one per hour
		t.Fatal(err)
	}
	var verdicts [5]int
	for range 10 {
		v, err := g.objects.Flood.Run(&ebpf.RunOptions{Data: g.input, DataOut: make([]byte, len(g.input))})
		if err != nil {
			t.Fatal(err)
		}
		verdicts[v]++
	}
	const drop, redirect = 1, 4
	if verdicts[redirect] != 1 || verdicts[drop] != 9 {
		t.Errorf("verdicts %v, want 1 sent, 9 dropped", verdicts)
	}
}

// Items occur in proportion, each source sends what Mix.Of says, and a second fragment comes from the source of the
// first, right after it.
func TestMix(t *testing.T) {
	mix, err := traffic.ParseMix("hello=6,large=2,junk=1,record=1,dtls10,wrong-cookie=3,gnutls,mbedtls,pion", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range flows {
		f.Ports = traffic.Ports{First: 1000, Last: 3500}
		t.Run(name, func(t *testing.T) { checkMix(t, &f, mix) })
	}
}

func checkMix(t *testing.T, f *Flow, mix traffic.Mix) {
	const frames = 20000
	g, err := NewMix(*f, mix, Options{Limit: frames})
	refused(t, err)
	defer g.Close()
	// What follows a fragment is kept per CPU.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, one unix.CPUSet
	one.Set(0)
	if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &one)); err != nil {
		t.Fatal(err)
	}
	defer unix.SchedSetaffinity(0, &before)
	seen := make(map[string]float64)
	var sources, questions, total float64
	for n := 0; n < frames-1; {
		var item *traffic.Item
		var source netip.AddrPort
		for i := 0; item == nil || i < len(item.Templates); i++ {
			frame, err := g.Frame()
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, f, frame)
			if i == 0 {
				source, item = p.source, mix.Of(p.source)
				seen[item.Name]++
				sources++
			}
			if want := f.AppendFrame(nil, &item.Templates[i], source); !bytes.Equal(frame, want) {
				t.Fatalf("%s from %v\n got % x\nwant % x", item.Name, source, frame, want)
			}
			if p := source.Port(); p < 1000 || p > 3500 {
				t.Fatalf("port %d", p)
			}
			if item.Templates[i].Question {
				questions++
			}
			n++
		}
	}
	for _, i := range mix {
		total += float64(i.Weight)
	}
	for _, i := range mix {
		if share, want := seen[i.Name]/sources, float64(i.Weight)/total; share < want*0.8 || share > want*1.2 {
			t.Errorf("%s: share %.3f, want %.3f", i.Name, share, want)
		}
	}
	if _, q, err := g.Counts(); err != nil || q != uint64(questions) {
		t.Errorf("%d questions counted, %.0f sent: %v", q, questions, err)
	}
}

func TestLimit(t *testing.T) {
	g, err := NewMix(flows["IPv4"], traffic.Single(must(t)(FirstHello(hellotest.New().Bytes()))), Options{Limit: 3})
	refused(t, err)
	defer g.Close()
	for range 10 {
		if _, err := g.Frame(); err != nil {
			t.Fatal(err)
		}
	}
	if sent, err := g.Sent(); err != nil || sent != 3 {
		t.Errorf("%d sent, want 3: %v", sent, err)
	}
}
