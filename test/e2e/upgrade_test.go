package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
)

// talk makes a client send 20 lines per second until the returned function is called, which fails the test if a line was
// lost.
func talk(t *testing.T, c *opensslClient) (stop func()) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		tick := time.NewTicker(time.Second / 20)
		defer tick.Stop()
		for {
			select {
			case <-end:
				ended <- n
				return
			case <-tick.C:
				n++
				_, _ = fmt.Fprintf(c.stdin, "ping line %d.\n", n)
			}
		}
	}()
	return func() {
		t.Helper()
		close(end)
		said := <-ended
		eventually(t, "the last line has arrived", func() bool { return c.says(fmt.Sprintf("ping line %d.", said)) })
		for n := 1; n <= said; n++ {
			if line := fmt.Sprintf("ping line %d.", n); !c.says(line) {
				t.Errorf("%q is lost, of %d", line, said)
			}
		}
	}
}

// TestUpgrade: a session that is active during an upgrade loses nothing, and keeps its flow.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	for mode, times := range map[string]int{"trust": 50, "harvest": 3, "replay": 3} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), mode)
			g := runGuard(t, s.addr)
			c := dialOpenSSL(t, g.addr)
			c.ping("ping before")
			stop := talk(t, c)
			for range times {
				g.upgrade()
			}
			stop()
			st := g.status()
			if st.Flows != 1 || st.FlowStatus.States["established"] != 1 || st.Packets["client"]["verified"] != 1 || len(st.FlowStatus.Ended) != 0 {
				t.Errorf("%d flows, %v, ended %v, %v, want the one from before", st.Flows, st.FlowStatus.States, st.FlowStatus.Ended, st.Packets["client"])
			}
			if st.Upgrades.Done != uint64(times) || st.Upgrades.Failed != 0 {
				t.Errorf("upgrades: %+v, want %d", st.Upgrades, times)
			}
			other := openssl()(t, g.addr)
			other.ping("ping of another client")
			other.close()
			c.close()
			eventually(t, "flows end", func() bool { return g.status().FlowStatus.States["established"] == 0 })
		})
	}
}

// TestUpgradeKeepsRules: a denied source stays denied after an upgrade, for as long as the rule says.
func TestUpgradeKeepsRules(t *testing.T) {
	t.Parallel()
	g := runGuard(t, echoServer(t, address("127.0.0.1", freePort(t)), "trust").addr)
	for _, rule := range []string{"list=deny&prefix=203.0.113.7/32", "list=allow&prefix=203.0.113.0/24&for=1h"} {
		if _, err := g.ask("POST", "/addresses?"+rule); err != nil {
			t.Fatal(err)
		}
	}
	g.upgrade()
	var st frontend.AddressStatus
	b, err := g.ask("GET", "/addresses")
	if err := errors.Join(err, json.Unmarshal(b, &st)); err != nil {
		t.Fatal(err)
	}
	if r := st.Rules; len(r) != 2 || r[0].Verdict != addresses.Allow || r[0].Seconds <= 0 || r[0].Seconds > 3600 || r[1].Verdict != addresses.Deny || r[1].Seconds != 0 {
		t.Errorf("%+v", r)
	}
}

// TestUpgradeBetweenHellos: a client whose handshake is in progress during an upgrade finishes it, whichever of
// its first six datagrams is on its way.
func TestUpgradeBetweenHellos(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"harvest", "trust", "replay"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := echoServer(t, address("127.0.0.1", freePort(t)), mode)
			g := runGuard(t, s.addr)
			// One upgrade per handshake: OpenSSL stalls when each datagram of a handshake takes most of a second, guard or not.
			for at := range 6 {
				var one sync.Mutex // datagrams of both directions come at the same time
				seen := 0
				p := startPath(t, g.addr, func(*netpath.Datagram) netpath.Fate {
					one.Lock()
					defer one.Unlock()
					if seen++; seen == at+1 {
						g.upgrade()
					}
					return netpath.Pass
				})
				c := openssl()(t, p.Addr)
				c.ping(fmt.Sprintf("ping with an upgrade at datagram %d", at+1))
				c.close()
			}
			if wrong := g.status().Packets["client"]["answered/wrong-cookie"]; wrong != 0 {
				t.Errorf("%d cookies of one guard were wrong to the next", wrong)
			}
		})
	}
}

// TestUpgradeSignal: SIGUSR2 starts an upgrade.
func TestUpgradeSignal(t *testing.T) {
	t.Parallel()
	s := echoServer(t, address("127.0.0.1", freePort(t)), "trust")
	g := runGuard(t, s.addr)
	before := g.pid()
	if err := syscall.Kill(before, syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process serves", func() bool { now := g.pid(); return now > 0 && now != before })
}

// script writes a program for an upgrade.
func script(t *testing.T, mode os.FileMode, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUpgradeFails: whatever a new program does wrong, the guard continues to serve and reports why the upgrade failed.
func TestUpgradeFails(t *testing.T) {
	t.Parallel()
	s := echoServer(t, address("127.0.0.1", freePort(t)), "trust")
	g := runGuard(t, s.addr, successorEnv+"=")
	before := g.pid()
	c := dialOpenSSL(t, g.addr)
	c.ping("ping before")
	stop := talk(t, c)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := buildGuard()
	if err != nil {
		t.Fatal(err)
	}
	failures := uint64(0)
	placed := filepath.Join(filepath.Dir(g.control), "placed")
	if err := os.WriteFile(placed, []byte("#!/bin/sh\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	type failure struct{ name, program, why string }
	failing := []failure{
		{"missing", "/nonexistent", "not there any more"},
		{"directory", "/", "not a program"},
		{"placed by the guard", placed, "where the guard itself can write"},
		{"not executable", script(t, 0o600, "#!/bin/sh\n"), "not a program"},
		{"not a program", script(t, 0o700, "text"), "exec format error"},
		{"ends", script(t, 0o700, "#!/bin/sh\nexit 3\n"), "ended before it served"},
		{"silent", script(t, 0o700, "#!/bin/sh\nexec sleep 1000\n"), "has not started within 2s"},
		{"version", script(t, 0o700, successor(self, "version")), "reads states of version 99"},
		{"dies prepared", script(t, 0o700, successor(self, "prepared")), "talk to the new program|ended before it served"},
		{"dies adopted", script(t, 0o700, successor(self, "adopted")), "ended before it served"},
		{"stalls adopted", script(t, 0o700, successor(self, "stalls")), "ended before it served|has not begun to serve within"},
	}
	if os.Geteuid() == 0 { // otherwise the launcher can do no more than the guard
		others := script(t, 0o755, "#!/bin/sh\n")
		if err := os.Chown(others, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		failing = append(failing, failure{"others' to write", script(t, 0o777, "#!/bin/sh\n"), "can be written to by others"},
			failure{"another user's", others, "belongs to user 65534"})
	}
	for _, f := range failing {
		g.install(f.program)
		start := patience
		if f.name == "silent" {
			start = 2 * time.Second
		}
		_, err := g.ask("POST", "/upgrade?start="+start.String())
		failures++
		if err == nil || !matches(err.Error(), f.why) {
			t.Errorf("%s: %v, want %q", f.name, err, f.why)
		}
		if st := g.status(); st == nil || st.PID != before || st.Upgrades.Failed != failures {
			t.Fatalf("%s: process %d served before, now %+v", f.name, before, st)
		}
	}
	g.install(program)
	// A configuration with a mistake, and one that cannot be put in force.
	for text, why := range map[string]string{
		"nonsense = 1\n": "nonsense",
		fmt.Sprintf("[[service]]\nlisten = \"%v\"\nbackend = \"127.0.0.1:1\"\n", s.addr): "another program has the port",
	} {
		g.configure(text)
		if _, err := g.ask("POST", "/upgrade"); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("configuration %q: %v, want %q", text, err, why)
		}
	}
	stop()
	if st := g.status(); st.PID != before || st.Flows != 1 {
		t.Errorf("process %d serves %d flows, want process %d and one flow", st.PID, st.Flows, before)
	}
	c.close()
}

func matches(text, any string) bool {
	for _, part := range strings.Split(any, "|") {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// TestDrain: a draining guard keeps its sessions, refuses new clients, reports it, and ends with its last session.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := echoServer(t, address("127.0.0.1", freePort(t)), "trust")
	g := runGuard(t, s.addr)
	pid := g.pid()
	c := openssl()(t, g.addr)
	c.ping("ping before")
	if _, err := g.ask("POST", "/drain"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it reports that it drains", func() bool { st := g.status(); return !st.Ready && strings.Contains(st.NotReady, "drains") })
	if _, err := g.ask("POST", "/upgrade"); err == nil || !strings.Contains(err.Error(), "drains") {
		t.Errorf("an upgrade meanwhile: %v", err)
	}
	if _, err := g.ask("POST", "/reload"); err == nil || !strings.Contains(err.Error(), "drains") || g.status().Ready {
		t.Errorf("a reload meanwhile: %v", err)
	}
	c.ping("ping meanwhile")
	c.close()
	eventually(t, "it ends with its last flow", func() bool { return g.pid() == 0 && (syscall.Kill(pid, 0) != nil || zombie(pid)) })
}
