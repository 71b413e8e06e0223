package privileges

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// role tells the test's own program, run again, to drop privileges and to say what it can still do.
const role = "DTLSGUARD_PRIVILEGES_TEST"

func TestMain(m *testing.M) {
	if dir := os.Getenv(role); dir != "" {
		if err := dropped(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// nobody is a user of whom nothing is expected.
var nobody = &User{Name: "nobody", UID: 65534, GID: 65534}

// dropped drops all but CAP_NET_ADMIN, with other threads running, and returns what is not as it should be.
func dropped(dir string) error {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		started := make(chan struct{})
		go func() { runtime.LockOSThread(); close(started); <-stop }()
		<-started
	}
	read, write := filepath.Join(dir, "read"), filepath.Join(dir, "write")
	err := Drop(Config{User: nobody, Keep: []int{unix.CAP_NET_ADMIN}, Read: []string{read}, Write: []string{write}, Log: slog.Default()})
	if err != nil {
		return err
	}
	var errs []error
	expect := func(what string, err, want error) {
		if !errors.Is(err, want) {
			errs = append(errs, fmt.Errorf("%s: %w, want %w", what, err, want))
		}
	}
	_, err = os.ReadFile(filepath.Join(read, "file"))
	expect("read what is named", err, nil)
	_, err = os.ReadFile(filepath.Join(dir, "else", "file"))
	expect("read what is not", err, unix.EACCES)
	expect("write where it is named", os.WriteFile(filepath.Join(write, "file"), nil, 0o600), nil)
	expect("make a symbolic link there", os.Symlink("file", filepath.Join(write, "link")), unix.EACCES)
	expect("remove there", os.Remove(filepath.Join(write, "file")), nil)
	expect("write where it is to be read", os.WriteFile(filepath.Join(read, "new"), nil, 0o600), unix.EACCES)
	expect("run a program", unix.Exec("/bin/true", []string{"true"}, nil), unix.EPERM)
	expect("become root", unix.Setuid(0), unix.EPERM)
	for _, line := range strings.Split(threads(), "\n") {
		if want := "Uid 65534 65534 65534 65534 Gid 65534 65534 65534 65534 Groups 65534 " +
			"CapInh 0 CapPrm 1000 CapEff 1000 CapBnd 0 CapAmb 0 NoNewPrivs 1 Seccomp 2"; line != want {
			errs = append(errs, fmt.Errorf("a thread has\n%s, want\n%s", line, want))
		}
	}
	return errors.Join(errs...)
}

// threads has a line of what each thread may.
func threads() string {
	files, _ := filepath.Glob("/proc/self/task/*/status")
	var lines []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		var fields []string
		for line := range strings.Lines(string(b)) {
			name, value, _ := strings.Cut(line, ":")
			if name == "Uid" || name == "Gid" || name == "Groups" || strings.HasPrefix(name, "Cap") || name == "NoNewPrivs" || name == "Seccomp" {
				for _, v := range strings.Fields(value) {
					if strings.HasPrefix(name, "Cap") {
						if v = strings.TrimLeft(v, "0"); v == "" {
							v = "0"
						}
					}
					name += " " + v
				}
				fields = append(fields, name)
			}
		}
		lines = append(lines, strings.Join(fields, " "))
	}
	return strings.Join(lines, "\n")
}

// What is left of a process of root's, on each of its threads.
func TestDrop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root has privileges to drop")
	}
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o711); err != nil { //nolint:gosec // the other user must come to what is below
			t.Fatal(err)
		}
	}
	for _, d := range []string{"read", "write", "else"} {
		d = filepath.Join(dir, d)
		if err := errors.Join(os.Mkdir(d, 0o755), os.WriteFile(filepath.Join(d, "file"), nil, 0o644), os.Chmod(d, 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "write", "file")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func TestLookUp(t *testing.T) {
	if os.Geteuid() != 0 {
		if _, err := LookUp("root"); err == nil {
			t.Error("an ordinary user can become root")
		}
		return
	}
	if u, err := LookUp("root"); u != nil || err != nil {
		t.Errorf("root as root: %v, %v", u, err)
	}
	if u, err := LookUp("nobody"); err != nil || u.UID != nobody.UID {
		t.Errorf("nobody: %v, %v", u, err)
	}
	if _, err := LookUp("nobody-of-this-name"); err == nil {
		t.Error("a user that does not exist was found")
	}
}
