package lab

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// process is a program that runs in a host of the lab.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu     sync.Mutex
	output bytes.Buffer

	exited chan struct{}
	err    error
}

// start runs a program whose standard input stays open. It is killed when the test ends.
func start(t *testing.T, h *lab.Namespace, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, h, exec.Command(name, args...))
}

func startCmd(t *testing.T, h *lab.Namespace, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = p, p
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), p.text())
		}
	})
	return p
}

// Write stores the program's output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// until waits until done is true, and fails the test if the program ends before.
func (p *process) until(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		select {
		case <-p.exited:
			if !done() {
				p.t.Fatalf("%s ended (%v), waiting for: %s", p.cmd.Path, p.err, what)
			}
			return
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v:  %s", p.cmd.Path, patience, what)
		}
	}
}

// expect waits until the program has printed text.
func (p *process) expect(text string) {
	p.t.Helper()
	p.until("it says "+text, func() bool { return strings.Contains(p.text(), text) })
}

// say writes a line to the program.
func (p *process) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("tell %s %q: %v", p.cmd.Path, line, err)
	}
}

// end waits until the program ends and returns its exit status, -1 for a signal.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.cmd.Path)
	}
	return p.cmd.ProcessState.ExitCode()
}

// kill sends SIGKILL if the program runs, and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// output runs a command, which must succeed, and returns its output.
func output(t *testing.T, h *lab.Namespace, name string, args ...string) string {
	t.Helper()
	p := start(t, h, name, args...)
	_ = p.stdin.Close()
	if status := p.end(); status != 0 {
		t.Fatalf("%s %s: exit status %d: %s", name, strings.Join(args, " "), status, p.text())
	}
	return p.text()
}
