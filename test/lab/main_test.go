package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// patience is how long a test waits for what must happen.
const patience = await.Patience

// bpffs is where the tests mount a BPF file system.
const bpffs = "/sys/fs/bpf"

// built is the environment variable with the directory of the programs that TestMain builds, for the process in the sandbox.
const built = "DTLSGUARD_LABTEST"

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run()) // each test is skipped with the reason
	}
	if os.Getenv(built) == "" {
		os.Exit(outside())
	}
	if err := furnish(); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// outside builds the program and runs the tests again as the first process of new namespaces: when it ends, everything
// that it started and mounted ends with it.
func outside() int {
	runtime.LockOSThread() // the child gets its signal when this thread ends, not the process
	dir, err := os.MkdirTemp("", "dtlsguard-labtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Tests mostly wait for retransmissions, so more of them than CPUs run at once.
	cmd := exec.Command(os.Args[0], append([]string{"-test.parallel=8"}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), built+"="+dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Cloneflags: unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return 0
}

// build builds the program as the Makefile does for users: without cgo.
func build(dir string) error {
	cmd := exec.Command("go", "build", "-o", dir, "github.com/dtlsguard/dtlsguard/cmd/dtlsguard")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build dtlsguard: %w\n%s", err, out)
	}
	// An ordinary user must be able to run it.
	return os.Chmod(dir, 0o755)
}

// furnish mounts the file systems for processes, for pins and for names of network namespaces.
func furnish() error {
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return errors.Join(
		unix.Mount("proc", "/proc", "proc", 0, ""),
		unix.Mount("bpf", bpffs, "bpf", 0, ""),
		unix.Mount("netns", "/run/netns", "tmpfs", 0, ""),
	)
}

// program returns the path of the built program.
func program() string { return filepath.Join(os.Getenv(built), "dtlsguard") }

// need requires programs.
func need(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		_, err := exec.LookPath(n)
		await.Require(t, n+" (apt-get install openssl gnutls-bin gcc libssl-dev iproute2 bpftool)", err)
	}
}

// newLab makes the network of a test.
func newLab(t *testing.T, name string) *lab.Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		await.Require(t, "root", unix.EPERM)
	}
	l, err := lab.New(name)
	await.Require(t, "network namespaces and XDP", err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}
