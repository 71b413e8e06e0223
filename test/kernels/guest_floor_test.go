package kernels

import (
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// beforeFloor is Debian's newest kernel before the oldest supported one.
const beforeFloor = "5.10"

// A kernel before the oldest supported is refused with the reason.
func TestKernelTooOld(t *testing.T) {
	kernels(t)
	k, err := emulator.Find(beforeFloor, emulator.Cloud)
	if err != nil {
		t.Fatal(err)
	}
	start(t, machine(t, k, "^TestGuestTooOld$"))
}

// run prints a line that the kernel is too old and a hint, check fails and names the shape that works, and
// that shape works.
func TestGuestTooOld(t *testing.T) {
	guestOnly(t)
	l := newLab(t)
	var protected []*process
	for _, a := range services {
		protected = append(protected, startServer(t, l.Middle, a))
	}
	inline := shapes[2]
	p := startIn(t, l.Middle, "/bin/dtlsguard", append([]string{"run", "--pin", "off"}, inline.arguments(secretFile(t))...)...)
	if status := p.End(); status != 1 {
		t.Errorf("exit status %d", status)
	}
	var said []string
	for line := range strings.Lines(p.Text()) {
		if !strings.Contains(line, "level=") {
			said = append(said, line)
		}
	}
	if len(said) != 2 || !strings.Contains(said[0], "kernel is too old") || !strings.Contains(said[1], "6.1") {
		t.Errorf("want the reason and the hint, got %q", said)
	}
	c := startIn(t, l.Middle, "/bin/dtlsguard", "check", "--interface", lab.ToClient)
	if status := c.End(); status != 1 || !strings.Contains(c.Text(), "too old") || !strings.Contains(c.Text(), "a proxy without XDP") {
		t.Errorf("check: exit status %d", status)
	}

	for _, s := range protected { // the proxy needs their ports
		if err := s.Cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		s.End()
	}
	proxy := shapes[0]
	for _, a := range backends {
		startServer(t, l.Server, a)
	}
	g := run(t, l, proxy.arguments(secretFile(t))...)
	connect(t, l, services[0]).ping("through a proxy")
	g.stop()
}
