package frontend

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/regular"
)

// A file that takes nothing costs lines, which are counted, and no worker's time.
func TestMapLogNeverWaits(t *testing.T) {
	m := &mapLog{queue: make(chan mapEntry, 2)} // nobody writes
	for range 5 {
		m.put(mapEntry{})
	}
	if n := m.dropped.Load(); n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	var said strings.Builder
	m.log, m.at, m.name = slog.New(slog.NewTextHandler(&said, nil)), func(int64) time.Time { return time.Time{} }, "full"
	w := mapWriter{mapLog: m, file: full}
	w.write(mapEntry{})
	if m.failed.Load() != 3 || m.written.Load() != 0 || !m.stalled.Load() {
		t.Errorf("%d lines failed, %d written, stalled %v", m.failed.Load(), m.written.Load(), m.stalled.Load())
	}
	if !strings.Contains(said.String(), "lost=6") || !strings.Contains(said.String(), "no space left") {
		t.Errorf("it says %q", said.String())
	}
}

// What opens and what closes is a line each, and a flow that nobody closed closes with the guard.
func TestMapLogLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "map.jsonl")
	w, client := bareWorker(t, 64, modes["trust"])
	s := &Server{config: Config{MapLog: file, Log: slog.New(slog.DiscardHandler)}, started: time.Now()}
	if err := s.openMapLog(); err != nil {
		t.Fatal(err)
	}
	w.service.name, w.service.mapLog = "test", s.mapLog
	f := flowOf(t, w, client)
	upstream := f.Upstream.Local().String()
	s.mapLog.opened(w, f)
	w.end(f, metrics.Killed)
	flowOf(t, w, client)
	w.end(w.flows.Any(), metrics.Stopped)
	s.mapLog.close()
	b, err := os.ReadFile(file)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if err != nil || len(lines) != 3 {
		t.Fatalf("%v, %d lines: %s", err, len(lines), b)
	}
	for i, want := range [][]string{{`"event":"opened"`, `"service":"test"`, `"upstream":"` + upstream + `"`, `"client":"127.0.0.1:`},
		{`"event":"closed"`, `"outcome":"killed"`, `"state":"half-open"`, `"to_server":{"packets":0,"bytes":0}`}, {`"outcome":"stopped"`}} {
		for _, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("line %d lacks %s: %s", i, part, lines[i])
			}
		}
	}
}

// Anything but a regular file, and a symbolic link, is refused; a rotation that fails leaves the old file.
func TestMapLogFile(t *testing.T) {
	dir := t.TempDir()
	file, other, link := filepath.Join(dir, "log"), filepath.Join(dir, "other"), filepath.Join(dir, "link")
	fifo := filepath.Join(dir, "fifo")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600), os.WriteFile(other, nil, 0o600), os.Symlink(other, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, link, "/dev/null"} {
		if _, err := openMapFile(name); !errors.Is(err, regular.ErrNotRegular) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var said strings.Builder
	s := &Server{config: Config{MapLog: file, Log: slog.New(slog.NewTextHandler(&said, nil))}, started: time.Now()}
	if err := s.openMapLog(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(dir, "log.1")
	if err := errors.Join(os.Rename(file, moved), os.Symlink(other, file)); err != nil {
		t.Fatal(err)
	}
	if err := s.mapLog.reopen(); !errors.Is(err, regular.ErrNotRegular) {
		t.Errorf("reopened as a link: %v", err)
	}
	s.mapLog.put(mapEntry{service: "kept"})
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventuallyReads(t, moved, "kept")
	if err := s.mapLog.reopen(); err != nil {
		t.Error(err)
	}
	s.mapLog.put(mapEntry{service: "anew"})
	s.mapLog.close()
	eventuallyReads(t, file, "anew")
	if !strings.Contains(said.String(), "stays with the old file") {
		t.Errorf("it says %q", said.String())
	}
}

func eventuallyReads(t *testing.T, file, text string) {
	t.Helper()
	for end := time.Now().Add(await.Patience); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(file)
		if strings.Contains(string(b), text) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v, %q", file, err, b)
		}
	}
}
