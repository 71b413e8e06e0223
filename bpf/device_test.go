package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// newTun makes a device whose frames are IP packets in the middle host, and returns the other end of it.
func newTun(t *testing.T, l *lab.Lab, name string) *os.File {
	t.Helper()
	var file *os.File
	if err := l.Middle.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), name)
		dev, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a4, _ := netlink.ParseAddr("198.18.9.1/24")
		a6, _ := netlink.ParseAddr("2001:2:0:9::1/64")
		a6.Flags = unix.IFA_F_NODAD
		return errors.Join(netlink.AddrAdd(dev, a4), netlink.AddrAdd(dev, a6), netlink.LinkSetUp(dev))
	}); err != nil {
		need(t, fmt.Errorf("tun device: %w", err))
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// On a device without Ethernet headers ClientHellos are answered, and made-up cookies do not reach the server.
func TestFramesThatBeginWithIP(t *testing.T) {
	l := newLab(t)
	wire := newTun(t, l, "tun0")
	var g *Programs
	if err := l.Middle.Do(func() (err error) {
		g, err = Load(Options{MaxServices: 8, MaxFlows: 4096, Interfaces: []string{"tun0"}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	if err := errors.Join(g.SetSecret(testRing.Current(), nil), g.SetService(inline())); err != nil {
		t.Fatal(err)
	}
	attach(t, l, g, "tun0", AttachAuto)
	server, err := l.Middle.ListenUDP("[::]:4433")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for _, a := range []struct{ client, service string }{{"198.18.9.2:40000", "198.18.9.1:4433"}, {"[2001:2:0:9::2]:40000", "[2001:2:0:9::1]:4433"}} {
		p := newPacket(firstHello)
		p.Src, p.Dst = netip.MustParseAddrPort(a.client), netip.MustParseAddrPort(a.service)
		exchange := func() []byte {
			t.Helper()
			if _, err := wire.Write(p.bytes()[14:]); err != nil {
				t.Fatal(err)
			}
			frame := make([]byte, 2048)
			wire.SetReadDeadline(time.Now().Add(await.Patience))
			for {
				n, err := wire.Read(frame[14:])
				if err != nil {
					t.Fatalf("no answer: %v", err)
				}
				if n > 48 && (frame[14]>>4 == 4 && frame[14+9] == 17 || frame[14]>>4 == 6 && frame[14+6] == 17) {
					copy(frame, p.MACs[6:])
					copy(frame[6:], p.MACs[:6])
					return frame[:14+n]
				}
			}
		}
		checkAnswer(t, a.client, p, exchange(), 0)
		p.Payload = hellotestZeroCookie()
		checkAnswer(t, a.client, p, exchange(), 0)
		p.Payload = second(testRing.Current(), p.Src, 4433)
		if _, err := wire.Write(p.bytes()[14:]); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2048)
		server.SetReadDeadline(time.Now().Add(await.Patience))
		n, src, err := server.ReadFromUDPAddrPort(buf)
		if err != nil || string(buf[:n]) != string(p.Payload) || netip.AddrPortFrom(src.Addr().Unmap(), src.Port()) != p.Src {
			t.Errorf("the server's first datagram is %x from %v, %v", buf[:n], src, err)
		}
	}
	if c := counters(t, g); c.Verdict[PassVerified] != 2 || c.Verdict[Answered] != 4 {
		t.Errorf("%s", moved(t, g, Counters{}))
	}
}

// Devices whose frames the programs cannot read are refused.
func TestDevicesRefused(t *testing.T) {
	for kind, want := range map[uint16]bool{unix.ARPHRD_ETHER: true, unix.ARPHRD_NONE: false} {
		if got, ok := linkHeaders[kind]; !ok || got != want {
			t.Errorf("kind %d: %v", kind, got)
		}
	}
	if _, ok := linkHeaders[unix.ARPHRD_INFINIBAND]; ok {
		t.Error("InfiniBand's header is read as what it is not")
	}
}
