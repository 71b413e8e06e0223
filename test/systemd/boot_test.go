package systemd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// patience is how long a boot and its script may take on a busy machine.
const patience = 5 * time.Minute

// boot starts systemd on a copy of this machine, runs the script there with the files of share in /share, and returns
// the script's output. The test fails if the script does.
func boot(t *testing.T, script, share string) string {
	t.Helper()
	dir := t.TempDir()
	group, err := os.MkdirTemp(cgroup2(t), "dtlsguard-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeGroup(t, group) })
	cmd := exec.Command("sh", "testdata/boot.sh", group, dir, share, script)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	said := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	err = cmd.Wait()
	out, readErr := os.ReadFile(filepath.Join(dir, "out", "script"))
	if readErr != nil {
		t.Fatalf("systemd did not run the script: %v, %v\n%s", err, readErr, said)
	}
	if _, err := os.Stat(filepath.Join(dir, "out", "passed")); err != nil {
		t.Fatalf("the script failed:\n%s\nsystemd's output:\n%s", out, said)
	}
	return string(out)
}

// cgroup2 is the mount point of control groups of version 2; systemd needs a group of its own.
func cgroup2(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			return f[1]
		}
	}
	t.Skip("no control groups of version 2 are mounted")
	return ""
}

// removeGroup removes a control group and those below it, once their processes are gone.
func removeGroup(t *testing.T, group string) {
	t.Helper()
	for end := time.Now().Add(await.Patience); ; time.Sleep(10 * time.Millisecond) {
		var dirs []string
		_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := range dirs {
			_ = os.Remove(dirs[len(dirs)-1-i])
		}
		_, err := os.Stat(group)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("control group %s cannot be removed", group)
			return
		}
	}
}

// build builds the packages of versions for this machine in a directory.
func build(t *testing.T, dir string, versions ...string) {
	t.Helper()
	for _, v := range versions {
		cmd := exec.Command("../../deploy/package/build", dir)
		cmd.Env = append(os.Environ(), "VERSION="+v, "ARCHES="+goarch(t))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build packages: %v\n%s", err, out)
		}
	}
}

func goarch(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		await.Require(t, "root", errors.New("this is an ordinary user"))
	}
	_, err := os.Stat("/lib/systemd/systemd")
	await.Require(t, "systemd (apt-get install systemd)", err)
	if _, err := exec.LookPath("dpkg"); err != nil {
		await.Require(t, "Debian", fmt.Errorf("no dpkg: %w", err))
	}
}
