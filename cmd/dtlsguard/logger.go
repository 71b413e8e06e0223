package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// newLogger makes the guard's log. Text on a stream that the journal reads has priorities and no time of its own.
func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, hint.Usagef("--log-level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	if format == "text" && toJournal(w) {
		format = "journal"
	}
	var h slog.Handler
	switch format {
	case "json":
		o.ReplaceAttr = inSeconds
		h = slog.NewJSONHandler(w, o)
	case "journal":
		h = newJournalHandler(w, o)
	default:
		h = slog.NewTextHandler(w, o)
	}
	return slog.New(hint.Handler(h)), nil
}

// inSeconds writes a duration for programs: in seconds.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// toJournal reports whether w is the stream that systemd connected to the journal: JOURNAL_STREAM names its device and
// inode (systemd.exec(5)).
func toJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	var s unix.Stat_t
	return unix.Fstat(int(f.Fd()), &s) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}

// journalHandler writes each record as a line that begins with its priority, <N> of sd-daemon(3).
type journalHandler struct {
	slog.Handler // writes to line
	*journalLine
}

// journalLine is where a record is written before it goes out.
type journalLine struct {
	mu   sync.Mutex
	line bytes.Buffer
	out  io.Writer
}

func newJournalHandler(w io.Writer, o *slog.HandlerOptions) slog.Handler {
	l := &journalLine{out: w}
	own := *o
	own.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{} // the journal has both
		}
		return a
	}
	return &journalHandler{slog.NewTextHandler(&l.line, &own), l}
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line.Reset()
	fmt.Fprintf(&h.line, "<%d>", priority(r.Level))
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.Write(h.line.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return &journalHandler{h.Handler.WithAttrs(a), h.journalLine}
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.Handler.WithGroup(name), h.journalLine}
}

// priority is a level as syslog(3) counts.
func priority(l slog.Level) int {
	switch {
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
