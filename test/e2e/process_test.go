package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// buildGuard builds the command, once for all tests.
var buildGuard = sync.OnceValues(func() (string, error) {
	path := filepath.Join(shared, "dtlsguard")
	out, err := exec.Command("go", "build", "-o", path, "github.com/dtlsguard/dtlsguard/cmd/dtlsguard").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build the guard: %w\n%s", err, out)
	}
	return path, err
})

// process is a guard in a process of its own, and its successors.
type process struct {
	t       *testing.T
	addr    netip.AddrPort
	control string
	log     string
	config  string
	program string   // the path that it was started as: a symbolic link
	args    []string // of the command, including its name
}

// runGuard starts the command in front of a server.
func runGuard(t *testing.T, server netip.AddrPort, env ...string) *process {
	t.Helper()
	program, err := buildGuard()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	g := &process{t: t, addr: address("127.0.0.1", freePort(t)), control: filepath.Join(dir, "guard.sock"), log: filepath.Join(dir, "log"), config: filepath.Join(dir, "guard.toml")}
	g.configure(fmt.Sprintf("[[service]]\nlisten = %q\nbackend = %q\n", g.addr, server))
	g.program = filepath.Join(t.TempDir(), "dtlsguard")
	g.install(program)
	g.args = []string{g.program, "run", "--config", g.config, "--control", g.control, "--metrics-listen", "off", "--workers", "2",
		"--harvest-pool", "256", "--hello-rate", "0", "--flows-per-source", "0", "--half-open-per-source", "0"}
	cmd := exec.Command(g.args[0], g.args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	g.launch(cmd)
	t.Cleanup(g.end)
	eventually(t, "the guard is ready", func() bool { s := g.status(); return s != nil && s.Ready })
	return g
}

// launch starts the process; its output is added to the log.
func (g *process) launch(cmd *exec.Cmd) {
	g.t.Helper()
	log, err := os.OpenFile(g.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
}

// install puts another program in the place of the one that the guard was started as, the way an operator does.
func (g *process) install(program string) {
	g.t.Helper()
	next := g.program + ".new"
	if err := errors.Join(os.Symlink(program, next), os.Rename(next, g.program)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *process) configure(text string) {
	g.t.Helper()
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// end stops the serving process, and shows the log if the test has failed.
func (g *process) end() {
	if pid := g.pid(); pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGTERM)
		eventually(g.t, "the guard ends", func() bool { return syscall.Kill(pid, 0) != nil || zombie(pid) })
	}
	if b, err := os.ReadFile(g.log); err == nil && g.t.Failed() {
		g.t.Logf("the guard said:\n%s", b)
	}
}

// zombie reports whether a process has ended and not been waited for.
func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && bytes.Contains(b, []byte(") Z "))
}

// pid is the process that serves the control socket, 0 if there is none.
func (g *process) pid() int {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	if unix.Connect(fd, &unix.SockaddrUnix{Name: g.control}) != nil {
		return 0
	}
	s := g.status()
	if s == nil {
		return 0
	}
	return s.PID
}

// ask sends a request to the serving process.
func (g *process) ask(method, path string) ([]byte, error) {
	return frontend.Ask(context.Background(), g.control, method, path)
}

// status returns nil if there is no answer.
func (g *process) status() *frontend.Status {
	b, err := g.ask("GET", "/status")
	s := new(frontend.Status)
	if err != nil || json.Unmarshal(b, s) != nil {
		return nil
	}
	return s
}

// upgrade replaces the guard by another process.
func (g *process) upgrade() {
	g.t.Helper()
	before := g.pid()
	b, err := g.ask("POST", "/upgrade?start=1m")
	if err != nil {
		g.t.Fatal(err)
	}
	var done frontend.Upgraded
	if err := json.Unmarshal(b, &done); err != nil {
		g.t.Fatal(err)
	}
	if now := g.pid(); now != done.PID || now == before {
		g.t.Fatalf("process %d serves after process %d, but the answer named %d", now, before, done.PID)
	}
}
