package bpf

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
)

// Peers of a trusted TCP port are learned without a daemon, too: from a daemon's death to the start of the next one, which knows them.
func TestTrustSurvivesRestart(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	to := netip.AddrPortFrom(lab.Middle4, 7001)
	var listener net.Listener
	need(t, l.Middle.Do(func() (err error) {
		listener, err = net.Listen("tcp", to.String())
		return err
	}))
	defer listener.Close()
	connect := func() {
		t.Helper()
		need(t, l.Client.Do(func() error {
			c, err := net.Dial("tcp", to.String())
			if err == nil {
				err = c.Close()
			}
			return err
		}))
	}
	start := func(ports ...uint16) (*Programs, *addresses.Set) {
		t.Helper()
		var g *Programs
		need(t, l.Middle.Do(func() (err error) { // whose connections count
			g = load(t, pinsTo(dir))
			return g.SetAddressLifetime(time.Hour)
		}))
		need(t, g.TrustTCP(ports))
		attach(t, l, g, lab.ToClient, AttachNative)
		memory, key, err := g.Addresses()
		need(t, err)
		return g, addresses.SetOf(memory, key, 3600)
	}
	client := lab.Client4.As16()
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	known := func(s *addresses.Set, want bool, when string) {
		t.Helper()
		has := func() bool { return s.Has(&client, addresses.Seconds(int64(monotonic()))) }
		if want { // the client may be connected before the server is
			await.Eventually(t, "known "+when, has)
		} else if has() {
			t.Errorf("known %s", when)
		}
		s.Remove(all)
	}
	g, s := start(7001)
	connect()
	known(s, true, "while the daemon lives")
	need(t, g.Close()) // what a SIGKILL leaves
	connect()
	g, s = start(7001)
	known(s, true, "after a connection while no daemon lived")
	connect()
	known(s, true, "with the next daemon")
	need(t, g.Close())
	g, s = start(7002)
	connect()
	known(s, false, "with another port")
	need(t, g.Close())
	g, s = start()
	connect()
	known(s, false, "with no port")
	need(t, g.Close())
	g, s = start(7001)
	connect()
	known(s, true, "with the port again")
	need(t, g.Close())
	if found, err := Unload(PinDir(dir, lab.ToClient)); !found || err != nil {
		t.Errorf("unload: %v, %v", found, err)
	}
	if _, err := os.Stat(PinDir(dir, lab.ToClient)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins left: %v", err)
	}
}

// TCP Fast Open without cookies (net.ipv4.tcp_fastopen, 0x200) has connections from the SYN on, which may be forged: those prove
// nothing before the peer has answered.
func TestTrustNeedsAnAnswer(t *testing.T) {
	l := newLab(t)
	to := netip.AddrPortFrom(lab.Middle4, 7003)
	var listener net.Listener
	const fastOpen = "/proc/sys/net/ipv4/tcp_fastopen"
	need(t, l.Middle.Do(func() (err error) {
		if err := os.WriteFile(fastOpen, []byte("1539"), 0); err != nil { // client, server, without a cookie, for all sockets
			return err
		}
		listener, err = net.Listen("tcp", to.String())
		return err
	}))
	defer listener.Close()
	var g *Programs
	need(t, l.Middle.Do(func() error {
		g = load(t, Options{})
		return g.SetAddressLifetime(time.Hour)
	}))
	need(t, g.TrustTCP([]uint16{7003}))
	memory, key, err := g.Addresses()
	need(t, err)
	set := addresses.SetOf(memory, key, 3600)
	known := func(a netip.Addr) bool {
		ip := a.As16()
		return set.Has(&ip, addresses.Seconds(int64(monotonic())))
	}
	forged := lab.Client4.Next()
	need(t, l.Client.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, fastOpenSYN(forged, to), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
	}))
	accepted := make(chan net.Conn, 2)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	select {
	case c := <-accepted: // so the kernel takes the forged one for a connection
		defer c.Close()
	case <-time.After(await.Patience):
		t.Fatal("the SYN with data was not accepted: this test tries nothing")
	}
	if known(forged) {
		t.Error("a forged SYN with data proved its address")
	}
	need(t, l.Client.Do(func() error {
		c, err := net.Dial("tcp", to.String())
		if err == nil {
			defer c.Close()
		}
		return err
	}))
	defer (<-accepted).Close()
	await.Eventually(t, "a connection proves its address", func() bool { return known(lab.Client4) })
}

// fastOpenSYN is an IPv4 packet with a TCP SYN that carries data.
func fastOpenSYN(from netip.Addr, to netip.AddrPort) []byte {
	be := binary.BigEndian
	segment := be.AppendUint16(be.AppendUint16(nil, 40000), to.Port())
	segment = append(segment, 1, 2, 3, 4, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0)
	segment = append(segment, "data"...)
	pseudo := append(append(from.AsSlice(), to.Addr().AsSlice()...), 0, unix.IPPROTO_TCP, 0, byte(len(segment)))
	sum := uint32(0)
	for b := append(pseudo, segment...); len(b) > 0; b = b[2:] {
		sum += uint32(be.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	be.PutUint16(segment[16:], ^uint16(sum))
	packet := append([]byte{0x45, 0, 0, byte(20 + len(segment)), 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}, from.AsSlice()...)
	return append(append(packet, to.Addr().AsSlice()...), segment...)
}
