package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"dtlsguard": main}) }

// TestScripts runs the scripts in testdata/script, each a use of the command line and what it must say. Besides
// testscript's own commands there are those of the table below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"backend":     func(ts *testscript.TestScript, _ bool, args []string) { startBackend(t, ts, args) },
			"client":      client,
			"occupy":      occupy,
			"exits":       exits,
			"signal":      signalGuard,
			"ready":       ready,
			"eventually":  eventually,
			"shows-flags": showsFlags,
			"stale":       stale,
			"appears":     appears,
			"fill":        fill,
		},
	})
}

// startBackend is "backend NAME [random|trust|none|silent]": it starts a make-believe server, whose cookies can
// be harvested unless said otherwise, and sets NAME to its address.
func startBackend(t *testing.T, ts *testscript.TestScript, args []string) {
	s := server.Start(t)
	s.Change(func(s *server.Server) {
		switch strings.Join(args[1:], " ") {
		case "random":
			s.ByRandom = true
		case "trust":
			s.Trusting = true
		case "none":
			s.NoCookies = true
		case "silent":
			s.Silent = true
		}
	})
	ts.Setenv(args[0], s.Addr().String())
}

// client is "client ADDRESS": a client sends a ClientHello there.
func client(ts *testscript.TestScript, _ bool, args []string) {
	c, err := net.Dial("udp", args[0])
	ts.Check(err)
	ts.Defer(func() { c.Close() })
	_, err = c.Write(hellotest.New().Bytes())
	ts.Check(err)
}

// occupy is "occupy udp|tcp NAME" or "occupy unix PATH": something else has that address, which NAME is set to;
// "occupy free NAME" sets it to an address that nothing has.
func occupy(ts *testscript.TestScript, _ bool, args []string) {
	switch args[0] {
	case "udp":
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { c.Close() })
		ts.Setenv(args[1], c.LocalAddr().String())
	case "free":
		port, err := await.Port()
		ts.Check(err)
		ts.Setenv(args[1], fmt.Sprint("127.0.0.1:", port))
	case "tcp":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		ts.Defer(func() { l.Close() })
		ts.Setenv(args[1], l.Addr().String())
	case "unix":
		l, err := net.Listen("unix", ts.MkAbs(args[1]))
		ts.Check(err)
		ts.Defer(func() { l.Close() })
	}
}

// stale is "stale PATH": a socket file that nobody listens on any more.
func stale(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// exits is "exits STATUS dtlsguard ARGS...": the command fails with that status and says why in one line, and how
// to fix it in at most another.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != want {
		ts.Fatalf("%v: %v, want exit status %d", args[1:], err, want)
	}
	said := ts.ReadFile("stderr")
	if !regexp.MustCompile(`^error: .+\n(hint: .+\n)?$`).MatchString(said) {
		ts.Fatalf("want a line error: and perhaps a line hint: on stderr, got %q", said)
	}
	if out := ts.ReadFile("stdout"); out != "" {
		ts.Fatalf("want nothing on stdout, got %q", out)
	}
}

// signalGuard is "signal HUP|TERM": the last program started in the background gets it.
func signalGuard(ts *testscript.TestScript, _ bool, args []string) {
	all := ts.BackgroundCmds()
	ts.Check(all[len(all)-1].Process.Signal(unix.SignalNum("SIG" + args[0])))
}

// patience is how long a script waits for a guard that has much to do, or a machine that has.
const patience = await.Patience

// ready is "ready SOCKET": it waits until a guard answers there that it is ready.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	awaits(ts, func() bool {
		var s frontend.Status
		body, err := frontend.Ask(context.Background(), ts.MkAbs(args[0]), "GET", "/status")
		return err == nil && json.Unmarshal(body, &s) == nil && s.Ready
	})
}

// eventually is "eventually PATTERN dtlsguard ARGS...": it runs the command until its output matches.
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	awaits(ts, func() bool {
		_ = ts.Exec(args[1], args[2:]...) // status of a guard that is not ready has another exit status
		return pattern.MatchString(ts.ReadFile("stdout"))
	})
}

// appears is "appears PATH": it waits until the file is there.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	awaits(ts, func() bool { _, err := os.Lstat(ts.MkAbs(args[0])); return err == nil })
}

func awaits(ts *testscript.TestScript, done func() bool) {
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited %v in vain", patience)
		}
	}
}

// showsFlags is "shows-flags FILE": the status in the file has a value for each flag of run.
func showsFlags(ts *testscript.TestScript, _ bool, args []string) {
	var s frontend.Status
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &s))
	newRun().Flags().VisitAll(func(f *pflag.Flag) {
		if _, shown := s.Flags[f.Name]; !shown {
			ts.Fatalf("the status does not show --%s", f.Name)
		}
	})
}

// fill is "fill FILE": what stands there as $NAME becomes what NAME is set to.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	ts.Check(os.WriteFile(name, []byte(os.Expand(string(b), ts.Getenv)), 0o600))
}
