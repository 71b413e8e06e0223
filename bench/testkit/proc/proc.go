// Package proc runs programs for tests and collects their output.
package proc

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Process is a running program. It is killed when the test ends, and its output is logged if the test has failed.
type Process struct {
	Cmd   *exec.Cmd
	Stdin io.WriteCloser // open until the program ends, unless the caller closes it

	t        *testing.T
	patience time.Duration

	mu     sync.Mutex
	output bytes.Buffer

	exited chan struct{}
	err    error
}

// Start starts cmd by calling start, for example in a network namespace. patience is how long the methods wait.
func Start(t *testing.T, start func(*exec.Cmd) error, cmd *exec.Cmd, patience time.Duration) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, t: t, patience: patience, exited: make(chan struct{})}
	var err error
	if p.Stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = p, p
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p.Text())
		}
	})
	return p
}

// Write implements io.Writer for the program's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

// Text returns the output so far, standard output and standard error together.
func (p *Process) Text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Until waits for a condition, and fails the test if the program ends before.
func (p *Process) Until(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(p.patience); !done(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.exited:
			if !done() {
				p.t.Fatalf("%s ended (%v), waiting for: %s", p.Cmd.Path, p.err, what)
			}
			return
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: not within %v: %s", p.Cmd.Path, p.patience, what)
		}
	}
}

// Expect waits until the program has printed text.
func (p *Process) Expect(text string) {
	p.t.Helper()
	p.Until("it prints "+text, func() bool { return strings.Contains(p.Text(), text) })
}

// Say writes a line to the program.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.Stdin, line+"\n"); err != nil {
		p.t.Fatalf("write %q to %s: %v", line, p.Cmd.Path, err)
	}
}

// End waits until the program ends and returns its exit status, -1 for a signal.
func (p *Process) End() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(p.patience):
		p.t.Fatalf("%s does not end", p.Cmd.Path)
	}
	return p.Cmd.ProcessState.ExitCode()
}

// Kill sends SIGKILL if the program runs, and waits until it has ended.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.exited
}
