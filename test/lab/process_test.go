package lab

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/proc"
)

// process is a program that runs in a host of the lab.
type process struct {
	*proc.Process
	t *testing.T
}

// start runs a program whose standard input stays open. It is killed when the test ends.
func start(t *testing.T, h *lab.Namespace, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, h, exec.Command(name, args...))
}

func startCmd(t *testing.T, h *lab.Namespace, cmd *exec.Cmd) *process {
	t.Helper()
	return &process{proc.Start(t, h.Start, cmd, patience), t}
}

// output runs a command, which must succeed, and returns its output.
func output(t *testing.T, h *lab.Namespace, name string, args ...string) string {
	t.Helper()
	p := start(t, h, name, args...)
	_ = p.Stdin.Close()
	if status := p.End(); status != 0 {
		t.Fatalf("%s %s: exit status %d: %s", name, strings.Join(args, " "), status, p.Text())
	}
	return p.Text()
}
