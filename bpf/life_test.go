package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// pinDir is a directory on a bpffs of the test's own.
func pinDir(t *testing.T) string {
	t.Helper()
	fs := t.TempDir()
	if err := unix.Mount("bpf", fs, "bpf", 0, ""); err != nil {
		need(t, fmt.Errorf("mount a bpffs: %w", err))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(fs, 0); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(fs, "dtlsguard")
}

// pinsTo returns the options of a guard that pins its state of the client's interface to dir.
func pinsTo(dir string) Options { return Options{Pin: dir, Interfaces: []string{lab.ToClient}} }

func wantAttached(t *testing.T, l *lab.Lab, want bool) {
	t.Helper()
	i := ifindex(t, l, lab.ToClient)
	if a, err := attachments(l, i); err != nil || (a.XDP != 0) != want || (a.Egress != 0) != want {
		t.Errorf("attached: %+v, %v; want %v", a, err, want)
	}
}

func ifindex(t *testing.T, l *lab.Lab, iface string) int {
	t.Helper()
	dev, err := l.Middle.Netlink().LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	return dev.Attrs().Index
}

func attachments(l *lab.Lab, index int) (a Attachments, err error) {
	err = l.Middle.Do(func() (err error) {
		a, err = Attached(index)
		return err
	})
	return a, err
}

// A session survives its daemon's death and the next daemon's start with other programs.
func TestSessionSurvivesRestart(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	start := func() *Programs {
		g := load(t, pinsTo(dir))
		attach(t, l, g, lab.ToClient, AttachNative)
		return g
	}
	g := start()
	if err := errors.Join(g.SetSecret(testRing.Current(), nil), g.SetService(inline())); err != nil {
		t.Fatal(err)
	}
	startServer(t, l, testSecret.Hex(), "5a")
	s := dial(t, l.Client, clients["openssl"](lab.Middle4, "4433"))
	defer s.close()
	if err := s.echo("before"); err != nil {
		t.Fatal(err)
	}
	first, err := attachments(l, ifindex(t, l, lab.ToClient))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil { // what a SIGKILL leaves: pins, no handle
		t.Fatal(err)
	}
	wantAttached(t, l, true)
	if err := s.echo("orphaned"); err != nil {
		t.Fatal(err)
	}
	g = start()
	second, err := attachments(l, ifindex(t, l, lab.ToClient))
	if err != nil || second.XDP == first.XDP || second.Egress == first.Egress {
		t.Errorf("programs %+v after %+v, %v: not replaced", second, first, err)
	}
	if keys := g.Services(); len(keys) != 1 || keys[0] != inline().ServiceKey {
		t.Errorf("services adopted: %v", keys)
	}
	before := counters(t, g)
	if before.Verdict[PassVerified] == 0 {
		t.Error("counters were not adopted")
	}
	if err := s.echo("adopted"); err != nil {
		t.Fatal(err)
	}
	if now := counters(t, g); now.Verdict[PassFlow] == before.Verdict[PassFlow] || now.Egress[EgressEstablished] == before.Egress[EgressEstablished] {
		t.Errorf("not through the guard: %s", moved(t, g, before))
	}
	if err := g.Detach(); err != nil {
		t.Fatal(err)
	}
	wantAttached(t, l, false)
	if _, err := os.Stat(PinDir(dir, lab.ToClient)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins left: %v", err)
	}
	if err := s.echo("unguarded"); err != nil {
		t.Fatal(err)
	}
}

// Attaching in front of a busy server interrupts no session: while the guard only monitors, the server's own records
// tell who is established.
func TestAttachToBusyServer(t *testing.T) {
	l := newLab(t)
	s := inline()
	s.Monitor = true
	g := guarding(t, s)
	startServer(t, l, testSecret.Hex(), "5a")
	c := dial(t, l.Client, clients["openssl"](lab.Middle4, "4433"))
	defer c.close()
	if err := c.echo("unguarded"); err != nil {
		t.Fatal(err)
	}
	attach(t, l, g, lab.ToClient, AttachNative)
	if err := c.echo("watched"); err != nil {
		t.Fatal(err)
	}
	s.Monitor = false
	if err := g.SetService(s); err != nil {
		t.Fatal(err)
	}
	before := counters(t, g)
	if err := c.echo("guarded"); err != nil {
		t.Fatal(err)
	}
	if now := counters(t, g); now.Egress[EgressLearned] != 1 || now.Verdict[PassFlow] == before.Verdict[PassFlow] || now.Verdict[PassVerified] != 0 {
		t.Errorf("learned otherwise: %s", moved(t, g, Counters{}))
	}
}

func TestUnload(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	g := load(t, pinsTo(dir))
	attach(t, l, g, lab.ToClient, AttachNative)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	wantAttached(t, l, true)
	if found, err := Unload(PinDir(dir, lab.ToClient)); !found || err != nil {
		t.Errorf("unload: %v, %v", found, err)
	}
	wantAttached(t, l, false)
	if found, err := Unload(PinDir(dir, lab.ToClient)); found || err != nil {
		t.Errorf("unload again: %v, %v", found, err)
	}
}

// Maps that do not fit are replaced, and the programs say why: the flows in them are lost. The links change over.
func TestRestartWithOtherMaps(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	few := func(dir string) Options { o := pinsTo(dir); o.MaxFlows = 100; return o }
	g := load(t, pinsTo(dir))
	attach(t, l, g, lab.ToClient, AttachNative)
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if f := probePins(PinDir(dir, lab.ToClient)); len(f) != 1 || f[0].Level != Pass {
		t.Errorf("maps of this build: %+v", f)
	}
	g = load(t, few(dir))
	if len(g.Services()) != 0 || !errors.Is(g.PinsRefused(), errSize) {
		t.Errorf("maps of another size: %v services adopted, refused: %v", len(g.Services()), g.PinsRefused())
	}
	attach(t, l, g, lab.ToClient, AttachNative)
	if err := g.SetService(inline()); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	g = load(t, few(dir))
	if len(g.Services()) != 1 || g.PinsRefused() != nil {
		t.Errorf("the new maps: %v services adopted, refused: %v", len(g.Services()), g.PinsRefused())
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(PinDir(dir, lab.ToClient), layoutPin) // as if a build with other structs of the same sizes had pinned them
	if err := errors.Join(os.Remove(link), os.Symlink("another", link)); err != nil {
		t.Fatal(err)
	}
	if f := probePins(PinDir(dir, lab.ToClient)); len(f) != 1 || f[0].Level != Warn {
		t.Errorf("maps of another build: %+v", f)
	}
	g = load(t, few(dir))
	if len(g.Services()) != 0 || !errors.Is(g.PinsRefused(), errLayout) {
		t.Errorf("maps of another layout: %v services adopted, refused: %v", len(g.Services()), g.PinsRefused())
	}
}

func TestAttachRefusals(t *testing.T) {
	l, dir := newLab(t), pinDir(t)
	g := load(t, pinsTo(dir))
	try := func(g *Programs, iface string, mode AttachMode) error {
		return l.Middle.Do(func() error { _, err := g.Attach(iface, mode); return err })
	}
	refused := func(what string, err error, want ...string) {
		t.Helper()
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error()+hintOf(err), w) {
				t.Errorf("%s: %v, want %q in it", what, err, w)
			}
		}
		if strings.Contains(fmt.Sprint(err), "\n") {
			t.Errorf("%s: more than one line: %v", what, err)
		}
		if _, err := os.Stat(PinDir(dir, lab.ToClient)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: pins left: %v", what, err)
		}
	}
	refused("missing", try(g, "eth99", AttachAuto), "eth99", "no such")
	if err := l.Middle.Run("ip", "link", "set", lab.ToServer, "down"); err != nil {
		t.Fatal(err)
	}
	refused("down", try(g, lab.ToServer, AttachAuto), "ip link set server0 up")
	if err := l.PassXDP(l.Middle, lab.ToClient); err != nil {
		t.Fatal(err)
	}
	refused("busy", try(g, lab.ToClient, AttachNative), "another XDP program", "bpftool")
	if a, err := attachments(l, ifindex(t, l, lab.ToClient)); err != nil || a.Egress != 0 {
		t.Errorf("half attached: %+v, %v", a, err)
	}
	// A directory that is not on a bpffs.
	plain := t.TempDir()
	h := load(t, Options{Pin: plain})
	err := l.Server.Do(func() error { _, err := h.Attach(lab.ToMiddle, AttachNative); return err })
	refused("no bpffs", err, "bpffs")
	if entries, err := os.ReadDir(plain); len(entries) != 0 || err != nil {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
	var a Attachments
	if err := l.Server.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToMiddle)
		if err == nil {
			a, err = Attached(dev.Index)
		}
		return err
	}); err != nil || a != (Attachments{}) {
		t.Errorf("left attached: %+v, %v", a, err)
	}
}

// With the program for several buffers a large MTU works; with the other one alone the refusal says
// what is.
func TestLargeMTU(t *testing.T) {
	l := newLab(t)
	for ns, iface := range map[*lab.Namespace]string{l.Middle: lab.ToServer, l.Server: lab.ToMiddle} {
		if err := ns.Run("ip", "link", "set", iface, "mtu", "9000"); err != nil {
			t.Fatal(err)
		}
	}
	g := guarding(t, inline())
	if got := attach(t, l, g, lab.ToServer, AttachAuto); got != AttachNative {
		t.Errorf("attached in %v mode", got)
	}
	if err := g.Detach(); err != nil {
		t.Fatal(err)
	}
	frags := g.frags
	g.frags = g.progs.Dtlsguard
	defer func() { g.frags = frags }()
	err := l.Middle.Do(func() error { _, err := g.Attach(lab.ToServer, AttachNative); return err })
	if err == nil || !strings.Contains(hintOf(err), "ip link set server0 mtu 1500") || strings.Contains(err.Error(), "\n") {
		t.Errorf("refusal: %v", err)
	}
}

func TestPinDirOfVLAN(t *testing.T) {
	dir := PinDir(pinDir(t), "eth0.7")
	if err := os.MkdirAll(dir+unfinished, 0o700); err != nil {
		t.Errorf("a bpffs does not take the name: %v", err)
	}
}

func TestServiceRefusals(t *testing.T) {
	g := guarding(t, inline())
	for _, c := range []struct {
		s    Service
		want string
	}{
		{Service{ServiceKey: ServiceKey{server4.Addr(), 0}}, "port must not be 0"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 4444}}, "workers of *:4433"},
		{Service{ServiceKey: ServiceKey{netip.IPv4Unspecified(), 4433}}, "covers"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 1}, WorkersPort: 4444}, "its own workers' port"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 1}, WorkersPort: 4433}, "4433 is the port of"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 1}, Answer: AnswerWorkers}, "port to listen on"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 1}, Answer: AnswerXDP, Format: FormatWorkers}, "only workers"},
		{Service{ServiceKey: ServiceKey{server4.Addr(), 1}, Unverified: UnverifiedLimit}, "rate"},
		{Service{ServiceKey: ServiceKey{netip.MustParseAddr("fe80::1%eth0"), 1}}, "zone"},
	} {
		if err := g.SetService(c.s); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q in it", c.s.ServiceKey, err, c.want)
		}
	}
	for port := uint16(1); port < 8; port++ {
		if err := g.SetService(Service{ServiceKey: ServiceKey{server4.Addr(), port}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.SetService(Service{ServiceKey: ServiceKey{server4.Addr(), 8}}); !errors.Is(err, ErrServicesFull) {
		t.Errorf("one too many: %v", err)
	}
	if err := g.DeleteService(ServiceKey{server4.Addr(), 99}); !errors.Is(err, ErrNoService) {
		t.Errorf("delete what is not: %v", err)
	}
}
