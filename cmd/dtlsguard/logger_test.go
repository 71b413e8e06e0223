package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// TestJournal: each line begins with its priority, and has neither time nor level of its own.
func TestJournal(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "journal", "debug")
	if err != nil {
		t.Fatal(err)
	}
	log = log.With("service", "turn")
	log.Debug("one")
	log.Info("two")
	log.Warn("three")
	log.Error("four", "error", hint.Add(errors.New("no answer"), "start it"))
	want := "<7>msg=one service=turn\n<6>msg=two service=turn\n<4>msg=three service=turn\n<3>msg=four service=turn error=\"no answer\" hint=\"start it\"\n"
	if out.String() != want {
		t.Errorf("%q, want %q", &out, want)
	}
}

// TestJSONDurations: JSON has durations in seconds, wherever they stand.
func TestJSONDurations(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, "json", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.With("for", 90*time.Second).Info("one", "after", 1500*time.Millisecond, slog.Group("of", "pause", time.Minute))
	for _, want := range []string{`"for":90,`, `"after":1.5,`, `"of":{"pause":60}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q, want %q", &out, want)
		}
	}
}

// TestJournalStream: text becomes the journal's where JOURNAL_STREAM names the stream, and nowhere else.
func TestJournalStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{fmt.Sprintf("%d:%d", s.Dev, s.Ino): `^<6>msg=hello\n$`, "1:2": `^time=.* level=INFO msg=hello\n$`, "": `^time=`} {
		t.Setenv("JOURNAL_STREAM", value)
		if err := errors.Join(f.Truncate(0), seek(f)); err != nil {
			t.Fatal(err)
		}
		log, err := newLogger(f, "text", "info")
		if err != nil {
			t.Fatal(err)
		}
		log.Info("hello")
		if b, err := os.ReadFile(f.Name()); err != nil || !regexp.MustCompile(want).Match(b) {
			t.Errorf("JOURNAL_STREAM=%s: %q, %v, want %s", value, b, err, want)
		}
	}
}

func seek(f *os.File) error {
	_, err := f.Seek(0, 0)
	return err
}

// stub is a guard of nothing.
type stub struct{ alive *error }

func (s stub) Alive() error                  { return *s.alive }
func (stub) Readiness() []frontend.Readiness { return nil }
func (stub) Flows() int                      { return 7 }

// TestManager: what the service manager is told, by whatever listens on its socket.
func TestManager(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	next := func() string {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(await.Patience)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1<<12)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	alive := error(nil)
	m := &manager{server: stub{&alive}, log: slog.New(slog.DiscardHandler), every: 10 * time.Millisecond}
	m.ready()
	if s := next(); s != "READY=1\nSTATUS=0 of 0 services ready, 7 flows" {
		t.Errorf("ready: %q", s)
	}
	m.reloading()
	if s := next(); !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[0-9]+$`).MatchString(s) {
		t.Errorf("reloading: %q", s)
	}
	m.look()
	if s := next() + next(); !strings.Contains(s, "STATUS=") || !strings.Contains(s, "WATCHDOG=1") {
		t.Errorf("alive: %q", s)
	}
	alive = errors.New("a worker has not moved")
	m.look() // says nothing, which is what the watchdog notices
	alive = nil
	m.look()
	if s := next(); s != "WATCHDOG=1" {
		t.Errorf("alive again: %q", s)
	}
	m.stopping()
	if s := next(); s != "STOPPING=1" {
		t.Errorf("stopping: %q, so a guard that stalls has pinged the watchdog", s)
	}
}
