package lab

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// refused runs a guard that cannot start, and checks that it leaves no pins, its exit status, and its reason
// in one line, which contains all of want.
func (p *place) refused(cmd *exec.Cmd, status int, want ...string) {
	p.t.Helper()
	p.refusedBeside(cmd, status, want...)
	if names := p.pinned(); len(names) > 0 {
		p.t.Errorf("pinned: %v", names)
	}
}

// refusedBeside is like refused, for a place that may have pins of others.
func (p *place) refusedBeside(cmd *exec.Cmd, status int, want ...string) {
	p.t.Helper()
	run := startCmd(p.t, p.Middle, cmd)
	if got := run.End(); got != status {
		p.t.Errorf("exit status %d, want %d", got, status)
	}
	said := run.Text()
	if strings.Count(said, "\n") > 2 || !strings.HasPrefix(said, "error: ") {
		p.t.Errorf("not one line: %q", said)
	}
	for _, w := range want {
		if !strings.Contains(said, w) {
			p.t.Errorf("no %q in %q", w, said)
		}
	}
	if len(said) > 600 {
		p.t.Errorf("a line of %d bytes: %q", len(said), said)
	}
}

// command is a guard that logs errors only and does not ask the server.
func (p *place) command(args ...string) *exec.Cmd {
	return exec.Command(program(), p.arguments(append([]string{"--handoff", "trust", "--log-level", "error"}, args...)...)...)
}

// inGuard applies a change to the guard's interface.
func (p *place) inGuard(change func(netlink.Link) error) { p.t.Helper(); p.inGuardOn(iface, change) }

func (p *place) inGuardOn(name string, change func(netlink.Link) error) {
	p.t.Helper()
	if err := p.Middle.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return change(l)
	}); err != nil {
		p.t.Fatal(err)
	}
}

// Exit statuses of the program.
const (
	exitRun   = 1
	exitUsage = 2
)

func TestBadInput(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		status int
		want   []string
	}{
		"no such interface":           {first("--interface", "nosuch0"), exitRun, []string{"nosuch0", "ip link"}},
		"the same service twice":      {first(first()...), exitUsage, []string{public[0].String(), "twice"}},
		"a service and its wildcards": {[]string{"--protect", ":4433", "--protect", "0.0.0.0:4433"}, exitRun, []string{"0.0.0.0:4433", "*:4433"}},
		"an address that is not here": {[]string{"--protect", "203.0.113.7:4433"}, exitRun, []string{"--protect 203.0.113.7:4433: no interface of this host has the address", "ip address", "--freebind"}},
		"too many services":           {append(many(1025), "--answer", "xdp"), exitRun, []string{"services map is full", "1024"}},
		"xdp without an interface":    {first("--interface", ""), exitUsage, []string{"--interface"}},
		"no such pin directory":       {first("--pin", "/proc/nowhere", "--keep-attached"), exitRun, []string{"/proc/nowhere", "bpffs"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.refused(p.command(c.args...), c.status, c.want...)
			p.free()
		})
	}
}

// many are arguments for n services.
func many(n int) (args []string) {
	for i := range n {
		a := netip.AddrFrom4([4]byte{198, 18, 2 + byte(i>>8), byte(i)})
		args = append(args, "--protect", netip.AddrPortFrom(a, servicePort).String())
	}
	return args
}

// A guard that names an interface that does not exist touches none of the others.
func TestInterfacesAreLookedAtFirst(t *testing.T) {
	p := newPlace(t)
	run := startCmd(t, p.Middle, p.command(first("--log-level", "info", "--interface", "nosuch0")...))
	if status, said := run.End(), run.Text(); status != exitRun || !strings.Contains(said, "nosuch0") || strings.Contains(said, "XDP attached") {
		t.Errorf("exit status %d: %s", status, said)
	}
	p.free()
}

func TestInterfaceDown(t *testing.T) {
	p := newPlace(t)
	p.inGuard(netlink.LinkSetDown)
	p.refused(p.command(first("--answer", "xdp")...), exitRun, "is down", "ip link set "+iface+" up")
	p.free()
}

// An interface with another XDP program is left as it is.
func TestInterfaceTaken(t *testing.T) {
	p := newPlace(t)
	if err := p.PassXDP(p.Middle, iface); err != nil {
		t.Fatal(err)
	}
	before := p.attached()
	p.refused(p.command(first()...), exitRun, "another XDP program", "bpftool net show dev "+iface)
	if after := p.attached(); before == "" || after != before {
		t.Errorf("attached before: %q, and after: %q", before, after)
	}
}

func TestNoPrivilege(t *testing.T) {
	p := newPlace(t)
	p.refused(p.ordinary(p.command(first()...)), exitRun, "CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON")
	p.free()
}

// An interface whose driver has no XDP, such as loopback, is refused in native mode, and served in generic mode
// with a warning.
func TestNoDriver(t *testing.T) {
	p := newPlace(t)
	p.refused(p.command(first("--interface", "lo", "--xdp-mode", "native")...), exitRun, "native", "generic")
	g := p.attach(first("--interface", "lo", "--handoff", "trust")...)
	g.Expect("the driver has no XDP")
	if x := g.status().XDP.Interfaces[0]; x.Mode != "generic" {
		t.Errorf("mode is %s", x.Mode)
	}
	g.stop()
}

// An MTU above a page works in every mode: the program handles packets in several buffers.
func TestLargeMTU(t *testing.T) {
	const jumbo = 9000
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			// On the other interface: the lab's pass program at the client's end of the first does not handle several buffers.
			for host, dev := range map[*lab.Namespace]string{p.Middle: lab.ToServer, p.Server: lab.ToMiddle} {
				if err := host.Do(func() error {
					l, err := netlink.LinkByName(dev)
					if err != nil {
						return err
					}
					return netlink.LinkSetMTU(l, jumbo)
				}); err != nil {
					t.Fatal(err)
				}
			}
			g := p.attach(first("--handoff", "trust", "--interface", lab.ToServer, "--xdp-mode", mode)...)
			if x := g.status().XDP.Interfaces[0]; x.Mode != mode {
				t.Errorf("mode is %s", x.Mode)
			}
			g.stop()
		})
	}
}
