package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// Ports of services, and of servers behind a proxy.
const (
	servicePort = 4433
	backendPort = 4434
)

// iface is the guard's interface towards clients.
const iface = lab.ToClient

// Addresses of the guard towards clients, and of the server behind it: IPv4, IPv6.
var (
	public = addresses(servicePort, lab.Middle4, lab.Middle6)
	behind = addresses(backendPort, lab.Server4, lab.Server6)
)

func addresses(port uint16, v4, v6 netip.Addr) [2]netip.AddrPort {
	return [2]netip.AddrPort{netip.AddrPortFrom(v4, port), netip.AddrPortFrom(v6, port)}
}

// inline returns the arguments that protect a server in the guard's host, proxy those for one in the server's host.
func inline() (args []string) {
	for _, a := range public {
		args = append(args, "--protect", a.String())
	}
	return args
}

// first protects the server at the first address only, and adds args.
func first(args ...string) []string { return slices.Concat(inline()[:2], args) }

func proxy() (args []string) {
	for i, a := range public {
		args = append(args, "--listen", a.String(), "--backend", behind[i].String())
	}
	return args
}

// place is where guards run one after another: a network, and the state that each leaves for the next.
type place struct {
	*lab.Lab
	t            *testing.T
	control, pin string
}

var places atomic.Int32

// newPlace makes a network for guards. Its test runs in parallel with others.
func newPlace(t *testing.T) *place {
	t.Helper()
	t.Parallel()
	n := places.Add(1)
	l := newLab(t, strconv.Itoa(int(n)))
	// Socket paths must be short, and those of t.TempDir are not.
	dir, err := os.MkdirTemp("", "labtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &place{l, t, filepath.Join(dir, "control"), fmt.Sprintf("%s/place%d", bpffs, n)}
}

// arguments returns the arguments of run in this place. There is no rate limit, as all clients of a test are one source.
func (p *place) arguments(args ...string) []string {
	if !slices.Contains(args, "--interface") {
		args = append([]string{"--interface", iface}, args...)
	}
	args = append([]string{"--allow-unguarded"}, args...) // through the interface to the server's host
	return append([]string{"run", "--hello-rate", "0", "--harvest-pool", "256", "--metrics-listen", "off",
		"--control", p.control, "--pin", p.pin}, args...)
}

// guard is a running `dtlsguard run`.
type guard struct {
	*process
	place *place
}

// run starts a guard and waits until it is ready.
func (p *place) run(args ...string) *guard {
	p.t.Helper()
	g := p.attach(args...)
	g.ready()
	return g
}

// attach starts a guard and waits until its programs are attached, whether there is a server or not.
func (p *place) attach(args ...string) *guard {
	p.t.Helper()
	g := &guard{start(p.t, p.Middle, program(), p.arguments(args...)...), p}
	p.t.Cleanup(func() { // runs before that of start
		if s, err := g.ask(); err == nil && p.t.Failed() {
			p.t.Logf("XDP: %+v\nsockets: %+v", s.XDP, s.Packets)
		}
	})
	g.answers()
	return g
}

// answers waits until the guard answers a status request.
func (g *guard) answers() {
	g.t.Helper()
	g.Until("the guard answers", func() bool {
		_, err := g.ask()
		return err == nil
	})
}

// unready waits until the guard reports that a service is not ready, for these reasons.
func (g *guard) unready(reasons ...string) {
	g.t.Helper()
	g.Until("the guard reports why it is not ready:  "+strings.Join(reasons, ", "), func() bool {
		s, err := g.ask()
		return err == nil && slices.ContainsFunc(s.Services, func(v frontend.ServiceStatus) bool {
			return !v.Ready && !slices.ContainsFunc(reasons, func(r string) bool { return !strings.Contains(strings.Join(v.Reasons, " "), r) })
		})
	})
}

func (g *guard) ready() {
	g.t.Helper()
	g.Until("the guard is ready", func() bool {
		s, err := g.ask()
		return err == nil && !slices.ContainsFunc(s.Services, func(v frontend.ServiceStatus) bool { return !v.Ready })
	})
}

func (g *guard) ask() (s frontend.Status, err error) {
	body, err := frontend.Ask(context.Background(), g.place.control, "GET", "/status")
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// status returns the guard's status.
func (g *guard) status() frontend.Status {
	g.t.Helper()
	s, err := g.ask()
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// signal sends a signal.
func (g *guard) signal(s syscall.Signal) {
	g.t.Helper()
	if err := g.Cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// stop stops the guard as systemd does, and checks its exit status.
func (g *guard) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	if status := g.End(); status != 0 {
		g.t.Errorf("guard: exit status %d", status)
	}
}

// attached returns what bpftool lists on the guard's interface, "" for nothing.
func (p *place) attached() string { p.t.Helper(); return p.attachedTo(iface) }

func (p *place) attachedTo(iface string) string {
	p.t.Helper()
	need(p.t, "bpftool")
	var lines []string
	for line := range strings.Lines(output(p.t, p.Middle, "bpftool", "net", "show", "dev", iface)) {
		// bpftool 7.5 looks at the links of the whole machine, and complains of one that another test takes off meanwhile.
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ":") && !strings.HasPrefix(line, "Error: can't get link by id") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// pinned lists the pin directory.
func (p *place) pinned() (names []string) {
	p.t.Helper()
	entries, err := os.ReadDir(p.pin)
	if err != nil && !os.IsNotExist(err) {
		p.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// free checks that nothing is attached and nothing pinned.
func (p *place) free() {
	p.t.Helper()
	if a := p.attached(); a != "" {
		p.t.Errorf("still attached: %s", a)
	}
	if names := p.pinned(); len(names) > 0 {
		p.t.Errorf("still pinned: %v", names)
	}
}
