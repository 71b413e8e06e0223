package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// successorEnv makes the test program play a successor that fails.
const successorEnv = "DTLSGUARD_TEST_SUCCESSOR"

// successor is the script of such a successor.
func successor(self, how string) string {
	return "#!/bin/sh\n" + successorEnv + "=" + how + " exec " + self + "\n"
}

// playSuccessor takes over, up to the step named by how.
func playSuccessor(how string) {
	fd, err := strconv.Atoi(os.Getenv(frontend.HandoverVariable))
	if err != nil {
		os.Exit(1)
	}
	c, err := handover.FromFD(fd)
	if err != nil {
		os.Exit(1)
	}
	version := handover.Version
	if how == "version" {
		version = 99
	}
	_ = c.Tell(handover.Message{Say: "hello", Version: version, PID: os.Getpid()})
	_, _, _ = c.Hear(time.Minute)
	if how == "version" {
		time.Sleep(time.Hour) // until it is killed
	}
	_ = c.Tell(handover.Message{Say: "prepared"})
	if how == "prepared" {
		os.Exit(1)
	}
	_, _, _ = c.Receive(time.Minute)
	_ = c.Tell(handover.Message{Say: "adopted"})
	_, _, _ = c.Hear(time.Minute)
	if how == "stalls" {
		time.Sleep(time.Hour)
	}
	os.Exit(1)
}

// TestSuccessorPrepares: a new guard has done all preparations before it asks for the state, when clients begin to wait: it cannot gain
// privileges any more.
func TestSuccessorPrepares(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root has capabilities to give up")
	}
	program, err := buildGuard()
	if err != nil {
		t.Fatal(err)
	}
	conn, other, err := handover.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cmd := exec.Command(program, "run", "--listen", address("127.0.0.1", freePort(t)).String(), "--backend", "127.0.0.1:9",
		"--control", "off", "--metrics-listen", "off")
	cmd.Env = append(os.Environ(), frontend.HandoverVariable+"=3")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{other}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	other.Close()
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if m, _, err := conn.Hear(patience); err != nil || m.Say != "hello" {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := conn.Tell(handover.Message{Say: "files"}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := conn.Hear(patience); err != nil || m.Say != "prepared" {
		t.Fatalf("%+v, %v", m, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nCapBnd:\t0000000000000000\n", "\nNoNewPrivs:\t1\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("want %q of\n%s", want, b)
		}
	}
}
