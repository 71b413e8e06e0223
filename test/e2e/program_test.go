package e2e

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// program is a client or server in a process of its own.
type program struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	echo  string // lines that begin with this are written back to the program

	mu     sync.Mutex
	output bytes.Buffer
	line   []byte // of output, not complete yet

	exited chan struct{}
	err    error
}

// drain is how long a program's output may stay open after its end: what it has started itself may hold it.
const drain = 5 * time.Second

// start runs a program whose standard input stays open until closeInput, or until the test ends, when it is
// killed. echo, if not empty, is the beginning of the lines that are written back to the program.
func start(t *testing.T, echo, name string, args ...string) *program {
	t.Helper()
	need(t, name)
	p := &program{t: t, name: name, cmd: exec.Command(name, args...), echo: echo, exited: make(chan struct{})}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = drain
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(p.cmd.Args, " "), p.text())
		}
	})
	return p
}

// Write stores the program's output.
func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.output.Write(b)
	p.line = append(p.line, b...)
	var back []byte
	for {
		end := bytes.IndexByte(p.line, '\n')
		if end < 0 {
			break
		}
		if p.echo != "" && bytes.HasPrefix(p.line, []byte(p.echo)) {
			back = append(back, p.line[:end+1]...)
		}
		p.line = p.line[end+1:]
	}
	p.mu.Unlock()
	if len(back) > 0 {
		_, _ = p.stdin.Write(back) // a program that has ended shows in the test by its silence
	}
	return len(b), nil
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// self returns the program of a type that embeds it.
func (p *program) self() *program { return p }

func (p *program) says(text string) bool { return strings.Contains(p.text(), text) }

// expect waits until the program has printed text.
func (p *program) expect(text string) {
	p.t.Helper()
	for end := time.Now().Add(patience); !p.says(text); time.Sleep(2 * time.Millisecond) {
		over := time.Now().After(end)
		select {
		case <-p.exited:
			over = over || !p.says(text)
		default:
		}
		if over {
			p.t.Fatalf("%s did not print %q", p.name, text)
		}
	}
}

// say writes a line to the program.
func (p *program) say(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatalf("tell %s %q: %v", p.name, line, err)
	}
}

// ping implements association.
func (p *program) ping(text string) { p.t.Helper(); p.exchange(text, text+"\n") }

// again is the time after which a client repeats an unanswered line: longer than any answer takes.
const again = 2 * time.Second

// exchange writes a line to the program until it prints the server's answer: application data that
// comes before the end of the handshake is lost and not retransmitted.
func (p *program) exchange(line, answer string) {
	p.t.Helper()
	for end := time.Now().Add(patience / 2); ; {
		p.say(line)
		for next := time.Now().Add(again); time.Now().Before(next); time.Sleep(2 * time.Millisecond) {
			if p.says(answer) {
				return
			}
		}
		if time.Now().After(end) {
			p.expect(answer)
			return
		}
	}
}

// closeInput closes the program's input.
func (p *program) closeInput() { _ = p.stdin.Close() }

// succeed waits until the program ends without an error.
func (p *program) succeed() {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
	}
	if p.err != nil {
		p.t.Errorf("%s: %v", p.name, p.err)
	}
}

// stop kills the program if it runs, and waits for its end.
func (p *program) stop() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}
