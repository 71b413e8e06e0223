package bpf

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

var gateFrames = flag.Int("frames", 400_000, "frames of TestNothingPassesUnparsed, for each kind of service")

// gateHost is a host with a UDP server, and a socket to send frames to it.
type gateHost struct {
	t       *testing.T
	out     int // packet socket on the client's side
	to      unix.SockaddrLinklayer
	mac     []byte
	servers []int
	buf     []byte
}

// newGateHost makes a host that accepts everything a Linux host can be set to accept: source routes, segment routes, and
// sources without a route back.
func newGateHost(t *testing.T, bind []netip.AddrPort) *gateHost {
	t.Helper()
	l, err := lab.New(fmt.Sprintf("gate%d", gateHosts))
	gateHosts++
	need(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &gateHost{t: t, buf: make([]byte, 1<<16)}
	from, err := l.Client.Netlink().LinkByName(lab.ToMiddle)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := l.Middle.Netlink().LinkByName(lab.ToClient)
	if err != nil {
		t.Fatal(err)
	}
	h.mac = dev.Attrs().HardwareAddr
	h.to = unix.SockaddrLinklayer{Ifindex: from.Attrs().Index}
	if err := l.Client.Do(func() (err error) {
		if h.out, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err == nil {
			err = unix.SetsockoptInt(h.out, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(h.out) })
	if err := l.Middle.Do(func() error {
		for _, c := range []struct{ family, name, value string }{
			{"ipv4", "accept_source_route", "1"}, {"ipv4", "rp_filter", "0"}, {"ipv4", "accept_local", "1"},
			{"ipv6", "accept_source_route", "1"}, {"ipv6", "seg6_enabled", "1"}, {"ipv6", "rpl_seg_enabled", "1"},
		} {
			for _, dev := range []string{"all", lab.ToClient} {
				err := os.WriteFile(fmt.Sprintf("/proc/sys/net/%s/conf/%s/%s", c.family, dev, c.name), []byte(c.value), 0)
				if err != nil && !errors.Is(err, os.ErrNotExist) { // not every kernel has all
					return err
				}
			}
		}
		for _, a := range bind {
			if err := h.listen(a); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return h
}

var gateHosts int

func (h *gateHost) listen(a netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	h.t.Cleanup(func() { unix.Close(fd) })
	h.servers = append(h.servers, fd)
	return errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: int(a.Port())}))
}

// send sends a frame with the destination MAC address replaced by the host's.
func (h *gateHost) send(frame []byte, mac [12]byte) {
	h.t.Helper()
	if string(frame[:6]) == string(mac[:6]) {
		copy(frame, h.mac)
		defer copy(frame, mac[:6])
	}
	for {
		err := unix.Sendto(h.out, frame, 0, &h.to)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			h.t.Fatal(err)
		}
	}
}

// received returns the sources of the datagrams that have reached the servers. All that this thread sent has arrived:
// a veth delivers before the system call returns.
func (h *gateHost) received() (from []netip.AddrPort) {
	h.t.Helper()
	for _, fd := range h.servers {
		for {
			_, sa, err := unix.Recvfrom(fd, h.buf, 0)
			if err != nil {
				break
			}
			in6 := sa.(*unix.SockaddrInet6)
			from = append(from, netip.AddrPortFrom(netip.AddrFrom16(in6.Addr).Unmap(), uint16(in6.Port)))
		}
	}
	return from
}

// Of all frames that a host without the guard delivers to a service's socket, the guard lets none through without a
// cookie or a flow: whatever the guard does not understand, the kernel may.
func TestNothingPassesUnparsed(t *testing.T) {
	specific := []netip.AddrPort{netip.AddrPortFrom(lab.Middle4, 4433), netip.AddrPortFrom(lab.Middle6, 4433)}
	for name, c := range map[string]struct {
		bind     []netip.AddrPort
		services []ServiceKey
	}{
		"one address": {specific, []ServiceKey{{specific[0].Addr(), 4433}, {specific[1].Addr(), 4433}}},
		"any address": {[]netip.AddrPort{netip.MustParseAddrPort("[::]:4433")}, []ServiceKey{{Port: 4433}}},
	} {
		t.Run(name, func(t *testing.T) { pinned(t, func() { gate(t, c.bind, c.services, *gateFrames) }) })
	}
}

const (
	gateFlowPort = 41000 // of the client that has a flow
	gatePort     = 40000 // of those who have none
)

// gateMaker makes the frames of the gate.
func gateMaker() *frameMaker {
	const seed = 7
	wrong, ourOwn := hellotest.New(), hellotest.New()
	wrong.Cookie = make([]byte, 32)
	wrong.Cookie[0] = testRing.Current().KeyID()
	ourOwn.Tail = append(ourOwn.Tail, make([]byte, 300)...)
	return &frameMaker{
		r: rand.New(rand.NewPCG(seed, seed)), macs: newPacket(nil).MACs,
		families: [2]family{{lab.Client4, lab.Middle4, lab.MiddleServer4}, {lab.Client6, lab.Middle6, lab.MiddleServer6}},
		payloads: [][]byte{firstHello, wrong.Bytes(), ourOwn.Bytes(), appData, alert, later, malformed, stun, nil, make([]byte, 100)},
		sports:   []uint16{gatePort}, dports: []uint16{4433, 4433, 4433, 4433, 4433, 4433, 4433, 53},
	}
}

func gate(t *testing.T, bind []netip.AddrPort, services []ServiceKey, frames int) {
	without, behind := newGateHost(t, bind), newGateHost(t, bind)
	var s []Service
	for _, k := range services {
		s = append(s, Service{ServiceKey: k, Answer: AnswerXDP})
	}
	g := guarding(t, s...)
	m := gateMaker()
	var arrived, sent, groups, passed int
	kinds := make(map[string]int)
	out := make([]byte, 1<<16)
	for sent < frames {
		group := m.next()
		for _, f := range group {
			without.send(f, m.macs)
		}
		before := passed
		for _, f := range group {
			o := ebpf.RunOptions{Data: f, DataOut: out}
			action, err := g.progs.Dtlsguard.Run(&o)
			if err != nil {
				t.Fatal(err)
			}
			if action == xdpPass {
				passed++
				behind.send(o.DataOut, m.macs)
			}
		}
		sent += len(group)
		if groups++; groups%64 == 0 {
			arrived += len(without.received())
		}
		if passed == before {
			continue
		}
		for _, from := range behind.received() {
			var hexes []string
			for _, f := range group {
				hexes = append(hexes, hex.EncodeToString(f))
			}
			before := counters(t, g)
			for _, f := range group { // once more, to see how
				run(t, g, f)
			}
			kind := moved(t, g, before)
			if kinds[kind]++; kinds[kind] <= 3 {
				t.Errorf("from %v, with neither cookie nor flow, %s:\n%s", from, kind, strings.Join(hexes, "\n"))
			}
		}
	}
	t.Logf("%d frames of %d datagrams: %d arrive without a guard, %d pass the programs", sent, groups, arrived, passed)
	for kind, n := range kinds {
		t.Errorf("%d times: %s", n, kind)
	}
	if arrived < frames/10 {
		t.Errorf("only %d of %d frames arrive without a guard: the frames are no test", arrived, frames)
	}
	// Datagrams that should arrive do arrive, so the host works.
	for _, f := range []*packet{newPacket(nil), newPacket6(nil)} {
		f.Src, f.Dst = netip.AddrPortFrom(lab.Client4, gateFlowPort), netip.AddrPortFrom(lab.Middle4, 4433)
		if f.Src.Addr().Is6() != f.Dst.Addr().Is6() {
			t.Fatal("families")
		}
		f.Payload = second(testRing.Current(), f.Src, 4433)
		frame := f.bytes()
		if action, _ := run(t, g, frame); action != xdpPass {
			t.Fatalf("a right cookie: action %d", action)
		}
		behind.send(frame, f.MACs)
		if n := len(behind.received()); n != 1 {
			t.Errorf("a datagram with a right cookie arrived %d times", n)
		}
	}
}
