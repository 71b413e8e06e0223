package lab

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New()
	if errors.Is(err, unix.EPERM) && os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
		t.Skip("needs root: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// A datagram goes from client to server and back, over the guard, IPv4 and IPv6.
func TestAllReachAll(t *testing.T) {
	l := newLab(t)
	for i, server := range l.Server.Addresses {
		var at, from *net.UDPConn
		err := errors.Join(
			l.Server.Do(func() (err error) {
				at, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 5000)))
				return err
			}),
			l.Client.Do(func() (err error) {
				from, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 5000)))
				return err
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		defer from.Close()
		end := time.Now().Add(10 * time.Second)
		at.SetDeadline(end)
		from.SetDeadline(end)
		if _, err := from.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		n, peer, err := at.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:n]) != "ping" || peer.Addr() != l.Client.Addresses[i] {
			t.Fatalf("%v: %q from %v, %v", server, b[:n], peer, err)
		}
		if _, err := at.WriteToUDPAddrPort([]byte("pong"), peer); err != nil {
			t.Fatal(err)
		}
		if n, err := from.Read(b); err != nil || string(b[:n]) != "pong" {
			t.Fatalf("%v: answer %q, %v", server, b[:n], err)
		}
	}
}

func TestCommandsRunInside(t *testing.T) {
	l := newLab(t)
	self, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Guard.Start(cmd); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, _ := out.Read(b)
	if err := cmd.Wait(); err != nil || n == 0 || string(b[:n-1]) == self {
		t.Errorf("command ran in %s, we are in %s: %v", b[:n], self, err)
	}
}

// What a killed process left is removed by the next, what a living one has is not.
func TestDeadLabsAreRemoved(t *testing.T) {
	l := newLab(t)
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	left := prefix + strconv.Itoa(dead.Process.Pid) + "-1-client"
	if err := onThread(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		if _, err := netns.NewNamed(left); err != nil {
			return err
		}
		return netns.Set(home)
	}); err != nil {
		t.Fatal(err)
	}
	newLab(t)
	if _, err := os.Stat(filepath.Join(netnsDir, left)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a dead process's namespace is still there: %v", err)
	}
	if _, err := os.Stat(l.Guard.Path()); err != nil {
		t.Errorf("a living process's namespace is gone: %v", err)
	}
}
