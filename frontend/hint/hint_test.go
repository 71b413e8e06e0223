package hint

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// foreign is an error of a package that does not import this one.
type foreign struct{}

func (foreign) Error() string { return "not permitted" }
func (foreign) Hint() string  { return "run as root" }

func TestPrint(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errors.New("no such file"), "error: no such file\n"},
		{"with a hint", Add(errors.New("no such file"), "create it"), "error: no such file\nhint: create it\n"},
		{"wrapped", fmt.Errorf("listen: %w", Errorf("choose another port", "port %d is in use", 53)), "error: listen: port 53 is in use\nhint: choose another port\n"},
		{"of a package without an import", fmt.Errorf("attach: %w", foreign{}), "error: attach: not permitted\nhint: run as root\n"},
		{"joined, one hint each and once", errors.Join(foreign{}, foreign{}, Add(errors.New("slow"), "wait")),
			"error: not permitted; not permitted; slow\nhint: run as root; wait\n"},
		{"usage", Usagef("port must not be 0"), "error: port must not be 0\nhint: see x --help\n"},
		{"settings", Errorf("leave setting xdp-chain out", "setting batch %d: want 1 to 1024", 0), "error: --batch 0: want 1 to 1024\nhint: leave --xdp-chain out\n"},
		{"usage with a hint of its own", Usage(Add(errors.New("no address"), "give one")), "error: no address\nhint: give one\n"},
	} {
		var out strings.Builder
		Print(&out, c.err, "see x --help")
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, &out, c.want)
		}
	}
}

func TestUsage(t *testing.T) {
	inner := errors.New("inner")
	if err := fmt.Errorf("outer: %w", Usage(inner)); !errors.Is(err, ErrUsage) || !errors.Is(err, inner) {
		t.Error("a usage error must be both what it wraps and ErrUsage")
	}
	if Usage(nil) != nil || Add(nil, "x") != nil || Of(nil) != "" {
		t.Error("no error must stay none")
	}
	if errors.Is(inner, ErrUsage) {
		t.Error("other errors are not of usage")
	}
}

func TestLogsCarryHints(t *testing.T) {
	for _, c := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"an error with a hint", func(l *slog.Logger) { l.Warn("w", "error", fmt.Errorf("attach: %w", foreign{})) },
			"level=WARN msg=w error=\"attach: not permitted\" hint=\"run as root\"\n"},
		{"the caller's hint", func(l *slog.Logger) { l.Warn("w", "error", foreign{}, "hint", "try again") },
			"level=WARN msg=w error=\"not permitted\" hint=\"try again\"\n"},
		{"a reason", func(l *slog.Logger) { l.Info("w", "why", "better: setting handoff trust") }, "level=INFO msg=w why=\"better: --handoff trust\"\n"},
		{"no hint", func(l *slog.Logger) { l.With("a", 1).Warn("w", "error", errors.New("slow")) }, "level=WARN msg=w a=1 error=slow\n"},
	} {
		var out strings.Builder
		plain := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
		c.log(slog.New(Handler(plain)))
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, &out, c.want)
		}
	}
}

// No library names a flag: it names the setting, and commands render it.
func TestLibrariesNameSettings(t *testing.T) {
	flag := regexp.MustCompile(`"[^"\n]*\B--[a-z][a-z-]+[^"\n]*"`)
	for _, root := range []string{"../../bpf", "..", "../../cookie"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			generated := strings.Contains(path, "_bpfe") || strings.HasSuffix(path, "_test.go")
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || generated {
				return err
			}
			text, err := os.ReadFile(path)
			for n, line := range strings.Split(string(text), "\n") {
				code, _, _ := strings.Cut(line, "\t//")
				// Other programs' flags, and documentation that is generated from the code, may be named.
				if m := flag.FindString(code); m != "" && !strings.Contains(m, "useradd") && !strings.Contains(m, "`--") {
					t.Errorf("%s:%d: %s", path, n+1, m)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestAdviceForProgrammers: what a library tells programmers is not shown to operators.
func TestAdviceForProgrammers(t *testing.T) {
	const got, want = "map create: operation not permitted (MEMLOCK may be too low, consider rlimit.RemoveMemlock): b", "map create: operation not permitted: b"
	if Flags(got) != want {
		t.Errorf("%q, want %q", Flags(got), want)
	}
}
