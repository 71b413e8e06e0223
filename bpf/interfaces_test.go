package bpf

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// asked sends a ClientHello from a host to the service on the guard's host and reports whether it was answered by
// the programs, or came to a socket of that port.
func asked(t *testing.T, from, guard *lab.Namespace, to netip.AddrPort) (answered bool) {
	t.Helper()
	server, err := guard.ListenUDP("[::]:4433")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := from.ListenUDP("0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	arrived := make(chan bool, 2)
	hear := func(c interface {
		SetReadDeadline(time.Time) error
		Read([]byte) (int, error)
	}, what bool) {
		_ = c.SetReadDeadline(time.Now().Add(await.Patience))
		if _, err := c.Read(make([]byte, 2048)); err == nil {
			arrived <- what
		}
	}
	go hear(client, true)
	go hear(server, false)
	if _, err := client.WriteToUDPAddrPort(firstHello, to); err != nil {
		t.Fatal(err)
	}
	select {
	case answered = <-arrived:
	case <-time.After(await.Patience):
		t.Fatal("neither answered nor let through")
	}
	return answered
}

// One set of programs guards several interfaces, a service on those that it names, and what one process leaves on each
// the next one takes over.
func TestSeveralInterfaces(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	if err := l.PassXDP(l.Server, lab.ToMiddle); err != nil {
		t.Fatal(err)
	}
	both := []string{lab.ToClient, lab.ToServer}
	start := func(ifaces ...string) *Programs {
		t.Helper()
		var g *Programs
		if err := l.Middle.Do(func() error {
			g = load(t, Options{Pin: dir, Interfaces: ifaces})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := g.SetSecret(testRing.Current(), nil); err != nil {
			t.Fatal(err)
		}
		for _, i := range ifaces {
			attach(t, l, g, i, AttachNative)
		}
		return g
	}
	set := func(g *Programs, ifaces ...string) {
		t.Helper()
		s := inline()
		s.Answer, s.WorkersPort, s.Interfaces = AnswerXDP, 0, ifaces
		if err := l.Middle.Do(func() error { return g.SetService(s) }); err != nil {
			t.Fatal(err)
		}
	}
	answers := func(when string, byClient, byServer bool) {
		t.Helper()
		for from, want := range map[*lab.Namespace]bool{l.Client: byClient, l.Server: byServer} {
			to := lab.Middle4
			if from == l.Server {
				to = lab.MiddleServer4
			}
			if got := asked(t, from, l.Middle, netip.AddrPortFrom(to, 4433)); got != want {
				t.Errorf("%s, from %s: answered %v", when, from.Name, got)
			}
		}
	}
	g := start(both...)
	set(g)
	answers("guarded on all", true, true)
	set(g, lab.ToServer)
	answers("guarded on one", false, true)
	set(g, both...)
	answers("guarded on both", true, true)
	if err := g.Close(); err != nil { // what a SIGKILL leaves
		t.Fatal(err)
	}

	g = start(lab.ToServer, lab.ToClient)
	if len(g.Services()) != 1 || !g.adopted {
		t.Errorf("services adopted: %v", g.Services())
	}
	answers("taken over", true, true)

	// An interface that is created again has another index.
	set(g, lab.ToClient)
	remade := func() error {
		old, err := netlink.LinkByName(lab.ToServer)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(old), netlink.LinkSetName(old, "away"), netlink.LinkSetUp(old))
	}
	if err := l.Middle.Do(remade); err != nil {
		t.Fatal(err)
	}
	if err := l.Middle.Do(func() error {
		at, err := g.Still(lab.ToServer)
		if err == nil && at.Name != "away" {
			t.Errorf("renamed: %+v", at)
		}
		return err
	}); err != nil {
		t.Errorf("renamed: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}

	// A guard of fewer interfaces detaches the programs from the rest.
	g = start(lab.ToClient)
	var left []string
	if err := l.Middle.Do(func() (err error) { left, err = g.DetachOthers(); return err }); err != nil || !slices.Equal(left, []string{lab.ToServer}) {
		t.Errorf("left on others: %v, %v", left, err)
	}
	set(g)
	answers("guarded on the one that is left", true, false)
	if err := g.Detach(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("pins left: %v, %v", entries, err)
	}
}

// Interfaces of both kinds of frames share services, secrets and counters.
func TestBothKindsOfFrames(t *testing.T) {
	l := newLab(t)
	newTun(t, l, "tun0")
	g := guarding(t, inline())
	attach(t, l, g, lab.ToClient, AttachNative)
	attach(t, l, g, "tun0", AttachGeneric)
	if g.attachment("tun0").progs.guard == g.progs.Dtlsguard {
		t.Error("the tun has the programs for Ethernet")
	}
	if err := g.Undo(); err != nil {
		t.Fatal(err)
	}
	wantAttached(t, l, false)
}
