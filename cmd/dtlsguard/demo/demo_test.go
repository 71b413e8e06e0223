package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/cmd/dtlsguard/demo/tap"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// needOpenSSL skips where the command is missing; in CI it must be there.
func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("the openssl command is missing: apt-get install openssl")
	}
	t.Skip("the openssl command is missing: apt-get install openssl")
}

// openSockets is the number of this process's sockets.
func openSockets() (n int) {
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, f := range fds {
		if to, _ := os.Readlink(f); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// nothingLeft gives the test a directory for temporary files, and checks at its end that it is empty and
// that no child process and no socket is left.
func nothingLeft(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	before := openSockets()
	t.Cleanup(func() {
		if after := openSockets(); after > before {
			t.Errorf("%d sockets left open", after-before)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("left behind: %v, %v", files, err)
		}
		stats, _ := filepath.Glob("/proc/[0-9]*/stat")
		for _, f := range stats {
			text, _ := os.ReadFile(f) // processes come and go
			_, rest, _ := strings.Cut(string(text), "(openssl) ")
			var state string
			var parent int
			if n, _ := fmt.Sscan(rest, &state, &parent); n == 2 && parent == os.Getpid() {
				t.Errorf("left behind: %s", text)
			}
		}
	})
}

// A flood slow enough for any machine, so that the test is not about speed.
var gentle = []string{"--handshakes", "2", "--flood-rate", "20000"}

func TestDemo(t *testing.T) {
	needOpenSSL(t)
	nothingLeft(t)
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append(gentle, "--json"), &stdout, &stderr); code != 0 {
		t.Fatalf("exit status %d: %s\n%s", code, &stderr, &stdout)
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatalf("%v in %s", err, &stdout)
	}
	for _, p := range []phase{r.Before, r.During} {
		if p.Tried != 2 || p.OK != 2 || p.Median <= 0 || p.Max < p.Median {
			t.Errorf("handshakes: %+v", p)
		}
	}
	if f := r.Flood; f.Sent == 0 || f.Answers == 0 || f.Answers > f.Sent || f.Wrong != 0 {
		t.Errorf("flood: %+v", f)
	}
	if !r.OK || r.Marked != 0 || r.Starts != 4 {
		t.Errorf("ok %v, %d datagrams of the flood at the server, which started %d times", r.OK, r.Marked, r.Starts)
	}
	// The minimum of four clients; more is retransmitted.
	for _, k := range []tap.Kind{tap.CookieHello, tap.Handshake, tap.ApplicationData} {
		if r.Server[k.String()] < 4 {
			t.Errorf("%d datagrams of kind %v passed the tap, want 4 or more", r.Server[k.String()], k)
		}
	}
	if own := r.Server[tap.FirstHello.String()]; own < poolSize {
		t.Errorf("%d ClientHellos without cookie passed the tap, want the guard's own: %d or more", own, poolSize)
	}
}

func TestDemoInterrupted(t *testing.T) {
	needOpenSSL(t)
	nothingLeft(t)
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 1500 * time.Millisecond} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(after, cancel)
		var stdout, stderr bytes.Buffer
		began := time.Now()
		code := run(ctx, gentle, &stdout, &stderr)
		if took := time.Since(began) - after; took > await.Patience {
			t.Errorf("after %v: it took %v to stop", after, took)
		}
		if code != 1 || stdout.Len() != 0 || !strings.HasSuffix(stderr.String(), "error: demo: interrupted\n") {
			t.Errorf("after %v: exit status %d, %q on stdout, %q on stderr", after, code, &stdout, &stderr)
		}
		cancel()
	}
}

func TestDemoErrors(t *testing.T) {
	broken := t.TempDir() // an openssl that fails
	script := "#!/bin/sh\necho 'unknown option -listen' >&2\nexit 1\n"
	if err := os.WriteFile(filepath.Join(broken, "openssl"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, path string
		args       []string
		code       int
		want       string
	}{
		{"no openssl", t.TempDir(), gentle, 1, "apt-get install openssl"},
		{"an openssl that fails", broken + ":/bin", gentle, 1, "unknown option -listen"},
		{"no handshakes", "", []string{"--handshakes", "0"}, 2, "--handshakes 0"},
		{"too many handshakes", "", []string{"--handshakes", "1000"}, 2, "want 1 to"},
		{"a rate below 0", "", []string{"--flood-rate", "-1"}, 2, "--flood-rate -1"},
		{"no time", "", []string{"--timeout", "0s"}, 2, "--timeout 0s"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			nothingLeft(t)
			t.Setenv("PATH", tc.path)
			var stdout, stderr bytes.Buffer
			code := run(t.Context(), tc.args, &stdout, &stderr)
			last := stderr.String()
			last = last[strings.LastIndex(last, "error: "):]
			if code != tc.code || stdout.Len() > 0 || !strings.Contains(last, tc.want) {
				t.Errorf("exit status %d, %q on stdout, %q last on stderr; want %d and %q", code, &stdout, last, tc.code, tc.want)
			}
		})
	}
}

func TestDemoVerdict(t *testing.T) {
	good := func() *result {
		return &result{Before: phase{Tried: 1, OK: 1}, During: phase{Tried: 1, OK: 1}, Flood: floodResult{Answers: 1}}
	}
	if err := good().verdict(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*result){
		"handshake": func(r *result) { r.During.add(0, errors.New("silence")) },
		"flood":     func(r *result) { r.Marked = 1 },
		"wrong":     func(r *result) { r.Flood.Wrong = 1 },
		"no answer": func(r *result) { r.Flood.Answers = 0 },
	} {
		r := good()
		if spoil(r); r.verdict() == nil || !strings.Contains(r.verdict().Error(), name) {
			t.Errorf("%s: verdict %v", name, r.verdict())
		}
	}
}

// run runs the command as a user does: exit status, result on stdout, error on stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, hint.ErrUsage):
		hint.Print(stderr, err, "")
		return 2
	}
	hint.Print(stderr, err, "")
	return 1
}

// TestReadme: the README's table has rows that demo prints.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	figures := regexp.MustCompile(`\d[\d .]*`)
	shape := func(line string) string {
		return strings.Join(strings.Fields(figures.ReplaceAllString(line, "0 ")), " ")
	}
	var out bytes.Buffer
	if err := new(result).print(&out, false); err != nil {
		t.Fatal(err)
	}
	printed := make(map[string]bool)
	for line := range strings.Lines(out.String()) {
		printed[shape(line)] = true
	}
	_, table, _ := strings.Cut(string(text), "ends with a table")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := 0
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "    ") {
			if rows++; !printed[shape(line)] {
				t.Errorf("not printed by demo: %q", shape(line))
			}
		}
	}
	if rows == 0 {
		t.Error("the README has no table")
	}
}
