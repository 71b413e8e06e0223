package kernels

import (
	"net"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/dtlsguard/dtlsguard/bench/testkit/emulator"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bpf"
)

// libxdp's files, from Debian's packages xdp-tools and libxdp1: the loader, the dispatcher, and
// a program to load.
const (
	xdpObjects = "/usr/lib/x86_64-linux-gnu/bpf/"
	filter     = xdpObjects + "xdpfilt_alw_udp.o"
)

// addLibxdp adds these files to a machine's.
func addLibxdp(f emulator.Files) error {
	for _, o := range []string{filter, xdpObjects + "xdp-dispatcher.o"} {
		f[o] = emulator.File{From: o, Mode: 0o644}
	}
	return f.Program("xdp-loader")
}

// Where libxdp's dispatcher is on the interface with another program, the guard reports that it cannot attach, and
// changes nothing.
func TestGuestDispatcher(t *testing.T) {
	guestOnly(t)
	l := newLab(t)
	if p := startIn(t, l.Middle, "xdp-loader", "load", "-vv", "-m", "native", lab.ToClient, filter); p.End() != 0 || strings.Contains(p.Text(), "without dispatcher") {
		t.Fatalf("no dispatcher: %s", p.Text())
	}
	dispatcher := func() (id ebpf.ProgramID) {
		t.Helper()
		if err := l.Middle.Do(func() error {
			dev, err := net.InterfaceByName(lab.ToClient)
			if err != nil {
				return err
			}
			a, err := bpf.Attached(dev.Index)
			id = ebpf.ProgramID(a.XDP)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := dispatcher()
	inline := shapes[2]
	p := startIn(t, l.Middle, "/bin/dtlsguard", append([]string{"run", "--pin", "off", "--control", t.TempDir() + "/c"}, inline.arguments(secretFile(t))...)...)
	if status := p.End(); status != 1 || !strings.Contains(p.Text(), "another XDP program is attached") {
		t.Errorf("exit status %d: %s", status, p.Text())
	}
	if now := dispatcher(); now != id {
		t.Errorf("program %d is on the interface, want %d still", now, id)
	}
}
