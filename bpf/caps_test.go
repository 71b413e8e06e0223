package bpf

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

const asNobody = "DTLSGUARD_TEST_AS_NOBODY"

// Four capabilities are enough for everything but the pins, whose directory has an owner; one less is not,
// and the refusal names them.
func TestCapabilities(t *testing.T) {
	if os.Getenv(asNobody) != "" {
		unprivileged(t)
		return
	}
	l := newLab(t)
	load(t, Options{})
	all := []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_PERFMON}
	for name, c := range map[string]struct {
		caps []uintptr
		want string
	}{"enough": {all, "attached"}, "none": {nil, "refused"}} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCapabilities$")
		cmd.Env = append(os.Environ(), asNobody+"="+c.want)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: c.caps}
		cmd.Dir = "/"
		cmd.Path = executable(t)
		if err := l.Middle.Do(func() error { out, err := cmd.CombinedOutput(); t.Logf("%s:\n%s", name, out); return err }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// executable copies the test's binary to where any user may run it.
func executable(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "dtlsguard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := dir + "/test"
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// unprivileged runs in the process without privileges.
func unprivileged(t *testing.T) {
	if os.Getenv(asNobody) == "refused" {
		if _, err := Load(Options{}); err == nil {
			t.Error("loaded without a capability")
		} else if want := "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"; !strings.Contains(hintOf(err), want) {
			t.Errorf("%v, hint %q, want %q in it", err, hintOf(err), want)
		}
		for _, f := range Probe() {
			if f.Name == "programs" && f.Level != Fail {
				t.Errorf("%+v", f)
			}
		}
		return
	}
	g := guarding(t, inline())
	if _, err := g.Attach(lab.ToClient, AttachNative); err != nil {
		t.Fatal(err)
	}
	if err := g.SetWorkers([]int{0}, true); err != nil {
		t.Error(err)
	}
	c, err := net.ListenUDP("udp", &net.UDPAddr{Port: 4444})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := g.Detach(); err != nil {
		t.Error(err)
	}
}

// hintOf returns the hint of an error.
func hintOf(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
