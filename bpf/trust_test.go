package bpf

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

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
		if got := s.Has(&client, addresses.Seconds(int64(monotonic()))); got != want {
			t.Errorf("known %s: %v, want %v", when, got, want)
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
