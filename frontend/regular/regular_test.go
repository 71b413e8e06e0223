package regular

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// Whatever is not a regular file is refused at once, also through a symbolic link.
func TestRefusesAllElse(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "s")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, socket, link, dir, "/dev/null", "/dev/zero"} {
		got := make(chan error, 1)
		go func() { _, err := Read(name, 100); got <- err }()
		select {
		case err := <-got:
			if !errors.Is(err, ErrNotRegular) {
				t.Errorf("%s: %v, want ErrNotRegular", name, err)
			}
		case <-time.After(await.Patience):
			t.Fatalf("%s: waits", name)
		}
	}
}

func TestReadsRegularFiles(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(link, 5); string(b) != "12345" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := Read(file, 4); err == nil {
		t.Error("a file that is larger than allowed was read")
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

// What a log is added to is the file in the directory that root or this user named: nobody else's link leads elsewhere.
func TestAppendFollowsNoLinksOfOthers(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	log := filepath.Join(there, "log")
	if err := os.Mkdir(there, 0o755); err != nil {
		t.Fatal(err)
	}
	link := func(to, name string) string {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	own, loop, far := link("there/../there/.", "own"), link("loop", "loop"), link(filepath.Join(dir, "far"), "far")
	absolute := link(own, "absolute")
	for _, name := range []string{log, filepath.Join(own, "log"), filepath.Join(absolute, "log")} {
		f, err := Append(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Close()
	}
	hard := filepath.Join(there, "hard")
	if err := os.Link(log, hard); err != nil {
		t.Fatal(err)
	}
	bad := []string{link(log, "symbolic"), hard, filepath.Join(loop, "log"), filepath.Join(far, "log"), filepath.Join(log, "log"), filepath.Join(dir, "none", "log")}
	if os.Geteuid() == 0 {
		others := link("there", "others")
		if err := os.Lchown(others, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		bad = append(bad, filepath.Join(others, "new"))
	}
	for _, name := range bad {
		if f, err := Append(name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	if _, err := os.Lstat(filepath.Join(there, "new")); err == nil {
		t.Error("a file was made where another user's link leads")
	}
}
