package kernels

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/bench/testkit/proc"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// patience is how long a test waits for what must happen: an emulated machine is slow, a retransmission takes a second.
const patience = 2 * time.Minute

// newLab makes the network of a test.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New("guest")
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

// process is a program that runs in a host of the lab.
type process struct {
	*proc.Process
	t *testing.T
}

// startIn starts a program that is killed when the test ends.
func startIn(t *testing.T, h *lab.Namespace, name string, args ...string) *process {
	t.Helper()
	return startBy(t, h.Start, name, args...)
}

// startBy starts a program by calling start.
func startBy(t *testing.T, start func(*exec.Cmd) error, name string, args ...string) *process {
	t.Helper()
	return &process{proc.Start(t, start, exec.Command(name, args...), patience), t}
}

// startServer starts an OpenSSL server that trusts the guard's cookies.
func startServer(t *testing.T, h *lab.Namespace, at netip.AddrPort) *process {
	t.Helper()
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := startIn(t, h, "/bin/openssl-server", peers.Arguments(at, id, "trust")...)
	p.Until("it listens", func() bool { return peers.Listens(p.Cmd.Process.Pid, at) })
	return p
}

// client is openssl s_client; after the first ping its handshake has succeeded.
type client struct{ *process }

func connect(t *testing.T, l *lab.Lab, to netip.AddrPort) *client {
	t.Helper()
	return &client{startIn(t, l.Client, "openssl", "s_client", "-brief", "-dtls1_2", "-connect", to.String())}
}

// ping sends a line and waits for its echo. It sends a lost line again, because UDP may lose datagrams.
func (c *client) ping(text string) {
	c.t.Helper()
	var next time.Time
	c.Until("the echo of "+text, func() bool {
		if now := time.Now(); now.After(next) {
			next = now.Add(2 * time.Second)
			_, _ = io.WriteString(c.Stdin, text+"\n")
		}
		return strings.Contains(c.Text(), text+"\n")
	})
}

// keepTalking sends lines until the returned function is called: the server closes silent associations, and
// a guard takes long to start on a busy host.
func (c *client) keepTalking() (silent func()) {
	const interval = 5 * time.Second // the server waits 30
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for ticks := time.NewTicker(interval); ; {
			select {
			case <-stop:
				return
			case <-ticks.C:
				_, _ = io.WriteString(c.Stdin, "still here\n")
			}
		}
	}()
	return func() { close(stop); <-done }
}

func (c *client) close() {
	c.t.Helper()
	_ = c.Stdin.Close() // a Q counts only as the first letter of what s_client reads
	c.End()
}

// guard is a running dtlsguard.
type guard struct {
	*process
	lab          *lab.Lab
	control, pin string
	xdp          bool
}

// run starts a guard and waits until it is ready.
func run(t *testing.T, l *lab.Lab, args ...string) *guard {
	t.Helper()
	return runOn(t, l, 0, args...)
}

// runOn is run, on the first cpus CPUs only; 0: on all.
func runOn(t *testing.T, l *lab.Lab, cpus int, args ...string) *guard {
	t.Helper()
	dir, err := os.MkdirTemp("", "guard") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &guard{lab: l, control: filepath.Join(dir, "control"), pin: "/sys/fs/bpf/test"}
	all := append([]string{"run", "--harvest-pool", "64", "--metrics-listen", "off", "--control", g.control}, args...)
	for _, a := range args {
		g.xdp = g.xdp || a == "--interface"
	}
	if g.xdp {
		all = append(all, "--pin", g.pin)
	}
	command := []string{"/bin/dtlsguard"}
	if cpus > 0 {
		command = []string{"taskset", fmt.Sprintf("%x", 1<<cpus-1), "/bin/dtlsguard"}
	}
	command = append(command, all...)
	g.process = startIn(t, l.Middle, command[0], command[1:]...)
	t.Cleanup(func() { // runs before that of startIn
		if s, err := g.ask(); err == nil && t.Failed() {
			t.Logf("XDP: %+v\nsockets: %+v", s.XDP, s.Packets)
		}
	})
	g.Until("the guard is ready", func() bool {
		s, err := g.ask()
		return err == nil && s.Ready
	})
	return g
}

func (g *guard) ask() (s frontend.Status, err error) {
	body, err := frontend.Ask(context.Background(), g.control, "GET", "/status")
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

func (g *guard) status() frontend.Status {
	g.t.Helper()
	s, err := g.ask()
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

// stop stops the guard as systemd does.
func (g *guard) stop() {
	g.t.Helper()
	if err := g.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
	if status := g.End(); status != 0 {
		g.t.Errorf("guard: exit status %d", status)
	}
}

// gone checks that nothing is attached to the interface and nothing pinned.
func (g *guard) gone() {
	g.t.Helper()
	if err := g.lab.Middle.Do(func() error {
		dev, err := net.InterfaceByName(lab.ToClient)
		if err != nil {
			return err
		}
		a, err := bpf.Attached(dev.Index)
		if err == nil && (a.XDP != 0 || a.Egress != 0) {
			err = fmt.Errorf("still attached: %+v", a)
		}
		return err
	}); err != nil {
		g.t.Error(err)
	}
	if left, err := filepath.Glob(g.pin + "/*"); err != nil || len(left) > 0 {
		g.t.Errorf("still pinned: %v %v", left, err)
	}
}
