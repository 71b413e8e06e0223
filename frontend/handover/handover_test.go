package handover

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// pair is both ends of a socket.
func pair(t *testing.T) (one, other *Conn) {
	t.Helper()
	one, f, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(f.Fd()))
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	if other, err = FromFD(fd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { one.Close(); other.Close() })
	return one, other
}

// pipes are the reading ends of n pipes that hold their number.
func pipes(t *testing.T, n int) *Files {
	t.Helper()
	files := &Files{}
	for i := range n {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		if _, err := w.Write([]byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		files.Add(int(r.Fd()))
	}
	return files
}

// A parcel arrives as it was sent, also when the sender has gone before anybody reads.
func TestParcel(t *testing.T) {
	for _, n := range []int{0, 1, filesAtOnce, 2*filesAtOnce + 1} {
		one, other := pair(t)
		one.Grow(10)
		state := bytes.Repeat([]byte("state"), 100_000)
		if sent, err := one.Send(state, pipes(t, n)); sent != n || err != nil {
			t.Fatalf("%d of %d files sent: %v", sent, n, err)
		}
		one.Close()
		got, files, err := other.Receive(time.Minute)
		if err != nil || !bytes.Equal(got, state) || files.Len() != n {
			t.Fatalf("%d bytes and %d files, %v; want %d and %d", len(got), files.Len(), err, len(state), n)
		}
		for i := range n {
			fd, ok := files.Take(i)
			f := os.NewFile(uintptr(fd), "pipe")
			b, err := io.ReadAll(f)
			f.Close()
			if !ok || err != nil || len(b) != 2 || int(b[0])|int(b[1])<<8 != i {
				t.Fatalf("file %d has %v, %v", i, b, err)
			}
			if _, twice := files.Take(i); twice {
				t.Fatalf("file %d was given twice", i)
			}
		}
	}
}

// A parcel of another version is refused, and its files are closed.
func TestParcelRefused(t *testing.T) {
	for name, h := range map[string]header{
		"version": {magic, Version + 1, 1, 0}, "magic": {"something", Version, 1, 0}, "size": {magic, Version, -1, 0}, "large": {magic, Version, mostState + 1, 0},
	} {
		one, other := pair(t)
		b, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := one.write(b, int(w.Fd())); err != nil {
			t.Fatal(err)
		}
		w.Close()
		_, _, err = other.Receive(time.Minute)
		if err == nil || errors.Is(err, ErrVersion) != (name == "version") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the file is still open: %v", name, err)
		}
		r.Close()
	}
}

// The files that follow the header of another version are closed, or sockets would keep their ports while the next guard starts.
func TestParcelOfAnotherVersionLeavesNothingOpen(t *testing.T) {
	one, other := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := json.Marshal(header{magic, Version + 1, 1, 2})
	if err == nil {
		err = errors.Join(one.write(b, int(w.Fd())), one.write([]byte{'f'}, int(w.Fd()), int(w.Fd())))
	}
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Receive(time.Minute); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a file is still open: %v", err)
	}
}

func TestMessage(t *testing.T) {
	one, other := pair(t)
	files := pipes(t, 1)
	fd := files.fds[0]
	if err := one.Tell(Message{Say: "files", Files: []string{"pipe"}}, fd); err != nil {
		t.Fatal(err)
	}
	m, fds, err := other.Hear(time.Minute)
	if err != nil || m.Say != "files" || len(fds) != 1 {
		t.Fatalf("%+v, %v, %v", m, fds, err)
	}
	_ = unix.Close(fds[0])
	one.Close()
	if _, _, err := other.Hear(time.Minute); !errors.Is(err, io.EOF) {
		t.Errorf("after the other end was closed: %v", err)
	}
}
