package labtest

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/lab"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// Ports of the tests: of services, and of servers behind a proxy.
const (
	servicePort = 4433
	backendPort = 4434
)

// iface is the guard's interface towards clients.
const iface = "guard0"

// public are the guard's addresses towards clients, behind those of the server behind it: IPv4, IPv6.
func public(l *lab.Lab) (a [2]netip.AddrPort) {
	for i := range a {
		a[i] = netip.AddrPortFrom(l.Guard.Addresses[i], servicePort)
	}
	return a
}

func behind(l *lab.Lab) (a [2]netip.AddrPort) {
	for i := range a {
		a[i] = netip.AddrPortFrom(l.Server.Addresses[i], backendPort)
	}
	return a
}

// guard is a running `dtlsguard run`.
type guard struct {
	*process
	control string
}

// inline are the arguments that protect a server in the guard's host, proxy those for one in the server's host.
func inline(l *lab.Lab) (args []string) {
	for _, a := range public(l) {
		args = append(args, "--protect", a.String())
	}
	return args
}

func proxy(l *lab.Lab) (args []string) {
	for i, a := range public(l) {
		args = append(args, "--listen", a.String(), "--backend", behind(l)[i].String())
	}
	return args
}

// controls is a path for a control socket; those of the kernel are short, so it is not in t.TempDir.
func controls(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "labtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "control")
}

// arguments of a guard in a test: all clients are one source, and have no rate limit.
func arguments(control string, args []string) []string {
	return append([]string{"run", "--interface", iface, "--hello-rate", "0", "--harvest-pool", "64", "--metrics-listen", "off",
		"--control", control}, args...)
}

// startGuard starts a guard and waits until it is ready.
func startGuard(t *testing.T, l *lab.Lab, args ...string) *guard {
	t.Helper()
	control := controls(t)
	g := &guard{start(t, l.Guard, program(), arguments(control, args)...), control}
	g.ready()
	return g
}

func (g *guard) ready() {
	g.t.Helper()
	g.until("the guard is ready", func() bool {
		s, err := g.ask()
		return err == nil && s.Ready
	})
}

func (g *guard) ask() (s frontend.Status, err error) {
	body, err := frontend.Ask(g.t.Context(), g.control, "GET", "/status")
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// status is what the guard says of itself.
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
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// stop ends the guard as systemd does, and checks that it is content.
func (g *guard) stop() {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	if status := g.end(); status != 0 {
		g.t.Errorf("guard: exit status %d", status)
	}
}

// attached lists what bpftool sees on the guard's interface: "" if nothing is.
func attached(t *testing.T, l *lab.Lab) string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(output(t, l.Guard, "bpftool", "net", "show", "dev", iface)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasSuffix(line, ":") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// pinned lists the files under the pin directory.
func pinned(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/sys/fs/bpf/dtlsguard")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// free checks that nothing is attached and nothing pinned.
func free(t *testing.T, l *lab.Lab) {
	t.Helper()
	if a := attached(t, l); a != "" {
		t.Errorf("still attached: %s", a)
	}
	if p := pinned(t); len(p) > 0 {
		t.Errorf("still pinned: %v", p)
	}
}
