package main

import (
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"

	testguard "github.com/dtlsguard/dtlsguard/bench/testkit/guard"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// served floods a service and checks that all sampled clients are served.
func served(t *testing.T, at netip.AddrPort, check func(all told)) {
	t.Helper()
	code, stdout, stderr := runFlood(t, "-d", at.Addr().String(), "-p", strconv.Itoa(int(at.Port())), "--json",
		"-Q", "500", "--duration", "1s", "--sample", "50", "--return", "2")
	all := lines(t, stdout)
	last := all[len(all)-1]
	if !ended(code, stderr) || last.Type != "summary" || last.Right == 0 || last.Right != last.Answers {
		t.Fatalf("exit %d\n%s%s", code, stdout, stderr)
	}
	c := last.Clients
	n := c["clients"]
	if n < 10 || c["compared"] != n || c["accepted"] != n/2 || len(last.Wrong) != 0 {
		t.Errorf("sampled clients: %v, faults %v", c, last.Wrong)
	}
	if last.Latency.Answers != 2*n || last.Latency.P50 <= 0 || last.Latency.P50 > last.Latency.P999 {
		t.Errorf("latency %+v of %d clients", *last.Latency, n)
	}
	check(last)
}

// The guard answers the flood and serves clients, with its own cookies and with the server's.
func TestGuardUnderFlood(t *testing.T) {
	for name, kind := range map[string]handoff.Mode{"own cookies": handoff.Trust, "the server's cookies": handoff.Harvest} {
		t.Run(name, func(t *testing.T) {
			backend := server.Start(t)
			backend.Change(func(s *server.Server) { s.Trusting = kind == handoff.Trust })
			at := startGuard(t, frontend.Config{
				Services: []frontend.Service{{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Backends: frontend.At(backend.Addr())}},
				Settings: frontend.Settings{Handoff: kind, HarvestPool: 256},
			})
			served(t, at, func(all told) {
				c, n := all.Clients, all.Clients["clients"]
				if kind == handoff.Trust && (c["same"] != n || c["shared"] != 0) {
					t.Errorf("the cookies of %d sources: %v", n, c)
				}
				// A pool has a limited number of cookies; each client gets two in turn.
				if c["same"]+c["changed"] != n {
					t.Errorf("asked again, %d sources: %v", n, c)
				}
			})
		})
	}
}

// startGuard runs a guard with one service until the test ends, and returns where it listens.
func startGuard(t *testing.T, c frontend.Config) netip.AddrPort {
	t.Helper()
	s, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	testguard.Run(t, s)
	await.Eventually(t, "the guard is ready", func() bool { return s.Ready() == nil })
	return s.Listening()[0]
}

// OpenSSL's server issues its own cookies and accepts them.
func TestOpenSSLUnderFlood(t *testing.T) {
	id, err := peers.NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	binary, err := peers.Find("openssl").Build(t.TempDir())
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), await.FreePort(t))
	cmd := exec.Command(binary, peers.Arguments(at, id, "")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await.Eventually(t, "the server listens", func() bool { return peers.Listens(cmd.Process.Pid, at) })
	served(t, at, func(all told) {
		if c := all.Clients; c["same"] != c["clients"] || c["shared"] != 0 {
			t.Errorf("the cookies of the sources: %v", c)
		}
	})
}
