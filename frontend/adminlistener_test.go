package frontend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// serveAdmin serves a handler that answers "ok", and one that answers with what it is told.
func serveAdmin(t *testing.T) (addr string, pieces chan string) {
	t.Helper()
	l, err := OpenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	pieces = make(chan string)
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		for piece := range pieces {
			fmt.Fprint(w, piece)
			if http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})
	mux.HandleFunc("/body", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	l.Serve(mux)
	return l.Addr().String(), pieces
}

// ask asks once, over a connection of its own.
func ask(addr, path string) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr + path) //nolint:noctx // it has a time limit
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "ok" {
		return fmt.Errorf("got %q, %w", b, err)
	}
	return nil
}

// A thousand connections that ask nothing, half of them after one request, neither keep anybody else from asking nor cost a
// file each.
func TestIdleConnections(t *testing.T) {
	addr, _ := serveAdmin(t)
	files := func() int { e, _ := os.ReadDir("/proc/self/fd"); return len(e) }
	before := files()
	var idle []net.Conn
	for i := range 1000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if i%2 == 0 {
			fmt.Fprint(c, "GET /ok HTTP/1.1\r\nHost: guard\r\n\r\n")
			_, _ = bufio.NewReader(c).ReadString('\n') // an answer, or the end of the connection
		}
		idle = append(idle, c)
		if i%100 == 99 {
			if err := ask(addr, "/ok"); err != nil {
				t.Fatalf("with %d idle connections: %v", i+1, err)
			}
		}
	}
	if n := files() - before - len(idle); n > AdminConnections+8 {
		t.Errorf("%d files besides the %d of this test's own", n, len(idle))
	}
}

// An answer that is being read keeps its connection, whoever else comes.
func TestReadersStay(t *testing.T) {
	addr, pieces := serveAdmin(t)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, "GET /slow HTTP/1.0\r\n\r\n")
	read := bufio.NewReader(c)
	piece := strings.Repeat("x", 2*adminPiece) + "\n"
	for range 4 {
		pieces <- piece
		for line := ""; line != piece; {
			if line, err = read.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		for range AdminConnections / 2 {
			if c, err := net.Dial("tcp", addr); err == nil {
				defer c.Close()
			}
		}
		if err := ask(addr, "/ok"); err != nil {
			t.Fatal(err)
		}
	}
	close(pieces)
	if rest, err := io.ReadAll(read); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
}

// Clients that ask for much and read nothing keep nobody from asking.
func TestSlowReaders(t *testing.T) {
	addr, pieces := serveAdmin(t)
	defer close(pieces)
	piece := strings.Repeat("x", 16<<20)
	for range 2 {
		for range AdminConnections {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, strings.Repeat("GET /slow HTTP/1.1\r\nHost: guard\r\n\r\n", 200))
			pieces <- piece // it is taken by a handler, which then waits for its reader
		}
		for range AdminConnections {
			if err := ask(addr, "/ok"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A reader over the network that takes nothing loses its connection, also if nobody else comes.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	l, err := OpenMetrics("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	failed := make(chan error, 1)
	l.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		_, err := w.Write(make([]byte, 64<<20))
		failed <- err
	}))
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	select {
	case err := <-failed:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for a reader that reads nothing")
	}
}

func TestRequestsAreBounded(t *testing.T) {
	addr, _ := serveAdmin(t)
	for name, request := range map[string]string{
		"431": "GET /ok HTTP/1.1\r\nHost: guard\r\nX: " + strings.Repeat("x", 2*adminMaxHeader) + "\r\n\r\n",
		"413": fmt.Sprintf("POST /body HTTP/1.1\r\nHost: guard\r\nContent-Length: %d\r\n\r\n%s", 2*adminMaxBody, strings.Repeat("x", 2*adminMaxBody)),
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(await.Patience))
		go func() { _, _ = io.WriteString(c, request) }() // it may be cut short
		if line, err := bufio.NewReader(c).ReadString('\n'); !strings.Contains(line, name) {
			t.Errorf("got %q, %v, want %s", line, err, name)
		}
	}
}

// The control socket is its owner's alone from the first moment, and in no place where others may put one before.
func TestControlSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "control-") // paths of sockets are short, those of t.TempDir are not
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "made", "s")
	defer unix.Umask(unix.Umask(0))
	l, err := OpenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	l.Serve(http.NotFoundHandler())
	if _, err := Ask(context.Background(), path, "GET", "/none"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("asked: %v", err)
	}
	l.Close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close: %v", err)
	}
	if err := os.Chmod(dir, 0o1777); err != nil { //nolint:gosec // as /tmp is
		t.Fatal(err)
	}
	if _, err := OpenControl(filepath.Join(dir, "s")); err == nil || !strings.Contains(err.Error(), "written to by everybody") {
		t.Errorf("in a directory like /tmp: %v", err)
	}
}

// Root gives its socket and the directory that it made to the guard's user, and nothing that somebody has put under their names.
func TestGiveFollowsNoLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "control-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "roots")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Uid
	}
	made := filepath.Join(dir, "made")
	path := filepath.Join(made, "s")
	l, err := OpenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	moved := filepath.Join(dir, "moved")
	for _, err := range []error{
		os.Rename(path, filepath.Join(made, "moved")), os.Symlink(file, path), os.Rename(made, moved), os.Symlink(filepath.Dir(file), made),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Give(nobody, nobody); err != nil {
		t.Error(err)
	}
	if owner(file) != 0 || owner(dir) != 0 {
		t.Errorf("root's file belongs to %d, its directory to %d", owner(file), owner(dir))
	}
	if a, b := owner(moved), owner(filepath.Join(moved, "moved")); a != nobody || b != nobody {
		t.Errorf("the directory belongs to %d, the socket to %d, want %d", a, b, nobody)
	}
	if _, err := openOwn(filepath.Join(moved, "s"), unix.S_IFSOCK); err == nil {
		t.Error("a link under the socket's name was opened")
	}
}
