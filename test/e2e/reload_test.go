package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// TestReload: services are added, removed and changed, and a session through another one does not notice; that of a removed service
// may go on.
func TestReload(t *testing.T) {
	t.Parallel()
	at := func(s *server) frontend.Service {
		return frontend.Service{Listen: address("127.0.0.1", freePort(t)), Backends: frontend.At(s.addr)}
	}
	start := func(mode string) *server { return echoServer(t, address("127.0.0.1", freePort(t)), mode) }
	stays, goes, comes := at(start("trust")), at(start("harvest")), at(start("harvest"))
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{stays, goes}})
	one, other := openssl()(t, stays.Listen), openssl()(t, goes.Listen)
	one.ping("before")
	other.ping("before")

	if done := g.reload(t, stays, comes); len(done.Added) != 1 || len(done.Removed) != 1 || len(done.Changed) != 0 {
		t.Errorf("changes: %v", done)
	}
	one.ping("after a service came")
	other.ping("while it drains")
	eventually(t, "the new service is ready", func() bool { return ready(g.Server, comes.Listen) })
	third := openssl()(t, comes.Listen)
	third.ping("of the new one")
	third.close()
	other.close()
	eventually(t, "the draining service has ended", func() bool { return len(g.Listening()) == 2 })

	// Another mode and other limits of a service with a session.
	changed := stays
	changed.Settings = &frontend.Settings{HelloRate: limit.Rate{PerSecond: -1}, HarvestPool: 32}
	if done := g.reload(t, changed, comes); len(done.Changed) != 1 || len(done.Added)+len(done.Removed) != 0 {
		t.Errorf("changes: %v", done)
	}
	one.ping("after its service changed")
	g.wait(t)
	fourth := openssl()(t, stays.Listen)
	fourth.ping("after the change")
	fourth.close()

	// Status shows what is in force, and a reload names what needs a restart.
	g.mu.Lock()
	g.config.RotateEvery, g.config.MaxFlows = time.Hour, 77
	g.mu.Unlock()
	if done := g.reload(t, changed, comes); !slices.Equal(done.Restart, []string{"max-flows"}) {
		t.Errorf("needs a restart: %v", done.Restart)
	}
	if f := g.Status().Flags; f["rotate-every"] != time.Hour.String() || f["max-flows"] == 77 {
		t.Errorf("after a reload status shows rotate-every %v, max-flows %v", f["rotate-every"], f["max-flows"])
	}

	// A configuration that cannot be served changes nothing.
	before := fmt.Sprint(g.Listening())
	g.mu.Lock()
	g.err = errors.New("a mistake")
	g.mu.Unlock()
	if _, err := g.Reload(t.Context()); err == nil {
		t.Error("a configuration with a mistake is accepted")
	}
	g.mu.Lock()
	g.err = nil
	g.config.Services = []frontend.Service{{Listen: netip.MustParseAddrPort("192.0.2.1:1"), Backends: comes.Backends}}
	g.mu.Unlock()
	if _, err := g.Reload(t.Context()); err == nil {
		t.Error("an address that is not this host's is accepted")
	}
	g.mu.Lock()
	g.config.XDP.Interfaces = []string{"lo"}
	g.config.Services = []frontend.Service{stays, {Listen: netip.MustParseAddrPort("127.0.0.1:1")}}
	g.mu.Unlock()
	if _, err := g.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "started without an interface") {
		t.Errorf("an inline service of a guard without XDP: %v", err)
	}
	if now := fmt.Sprint(g.Listening()); now != before {
		t.Errorf("after mistakes it listens on %s, and before on %s", now, before)
	}
	one.ping("after mistakes")
	one.close()
}

// TestStatusOfSecrets: services that rotate at different times have secrets of their own, and status shows whose each is.
func TestStatusOfSecrets(t *testing.T) {
	t.Parallel()
	server := echoServer(t, address("127.0.0.1", freePort(t)), "trust").addr
	service := func(name string, every time.Duration) frontend.Service {
		return frontend.Service{Name: name, Listen: address("127.0.0.1", freePort(t)), Backends: frontend.At(server), Settings: &frontend.Settings{RotateEvery: every}}
	}
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{service("one", time.Hour), service("two", time.Minute), service("three", time.Hour)}})
	all := g.Status().Secrets
	if len(all) != 2 || !slices.Equal(all[0].Services, []string{"one", "three"}) || !slices.Equal(all[1].Services, []string{"two"}) || all[0].Fingerprint == all[1].Fingerprint {
		t.Errorf("%+v", all)
	}
}

// TestReloadDropsSecrets: a secret file that no service uses any more may be deleted, as may one of a configuration that was refused.
func TestReloadDropsSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("5aa5c3", 16)[:64]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	v := frontend.Service{Listen: address("127.0.0.1", freePort(t)), Backends: frontend.At(echoServer(t, address("127.0.0.1", freePort(t)), "trust").addr)}
	with := func(file string) frontend.Service {
		s := v
		s.Settings = &frontend.Settings{HelloRate: limit.Rate{PerSecond: -1}, SecretFile: file}
		return s
	}
	one, two, three := file("one"), file("two"), file("three")
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{with(one)}})
	g.reload(t, with(two))
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	g.reload(t, with(two))
	elsewhere := with(three)
	elsewhere.Listen = netip.MustParseAddrPort("192.0.2.1:1")
	g.mu.Lock()
	g.config.Services = []frontend.Service{with(two), elsewhere}
	g.mu.Unlock()
	if _, err := g.Reload(t.Context()); err == nil {
		t.Fatal("an address that is not this host's is accepted")
	}
	if err := os.Remove(three); err != nil {
		t.Fatal(err)
	}
	g.reload(t, with(two))
	g.reload(t, v)
	if err := g.Rotate(); err != nil {
		t.Errorf("the guard's own secret after those of files: %v", err)
	}
	g.wait(t)
	c := openssl()(t, v.Listen)
	c.ping("with the guard's own secret again")
	c.close()
}

// TestSeveralBackends: clients are spread over the servers; when one goes down, its clients and new ones go to the other.
func TestSeveralBackends(t *testing.T) {
	t.Parallel()
	one, two := echoServer(t, address("127.0.0.1", freePort(t)), "harvest"), echoServer(t, address("127.0.0.1", freePort(t)), "trust")
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{{
		Listen:   address("127.0.0.1", freePort(t)),
		Backends: []frontend.Backend{{Address: one.addr.String()}, {Address: two.addr.String()}},
	}}})
	eventually(t, "both back ends are ready", func() bool {
		for _, b := range g.Status().Services[0].Backends {
			if !b.Ready {
				return false
			}
		}
		return true
	})
	c := openssl()(t, g.Listening()[0])
	c.ping("with both")
	c.close()
	one.stop()
	eventually(t, "the guard notices that one is down", func() bool { return len(g.Readiness()[0].Reasons) == 1 })
	if g.Available() != nil {
		t.Error("the service is not ready although it has a back end")
	}
	c = openssl()(t, g.Listening()[0])
	c.ping("with the other")
	c.close()
}

// TestNameMoves: a back end's name is resolved again, all its addresses are tried, and a resolver that fails changes nothing.
func TestNameMoves(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	first := echoServer(t, address("127.0.0.1", port), "trust")
	var mu sync.Mutex
	addrs, broken := []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}, error(nil)
	set := func(err error, a ...string) {
		mu.Lock()
		defer mu.Unlock()
		addrs, broken = nil, err
		for _, s := range a {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
	}
	g := startReloadable(t, frontend.Config{
		Services:     []frontend.Service{{Listen: address("127.0.0.1", freePort(t)), Backends: []frontend.Backend{{Address: fmt.Sprintf("dtls.test:%d", port)}}}},
		ResolveEvery: time.Second,
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			return addrs, broken
		},
	})
	server := func() string { return g.Status().Services[0].Backends[0].Server }
	if server() != first.addr.String() {
		t.Errorf("the server is %s, want %v, the second address", server(), first.addr)
	}
	c := openssl()(t, g.Listening()[0])
	c.ping("before")
	set(errors.New("no resolver"))
	c.ping("without a resolver")
	second := echoServer(t, address("127.0.0.2", port), "trust")
	set(nil, "127.0.0.2")
	eventually(t, "the guard follows the name", func() bool { return server() == second.addr.String() })
	c.ping("through the old address")
	c.close()
	c = openssl()(t, g.Listening()[0])
	c.ping("through the new one")
	c.close()
}

// TestDeadBackends: services whose servers are silent, down or unresolvable do not delay the others.
func TestDeadBackends(t *testing.T) {
	t.Parallel()
	const dead = 100
	silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	whose := []string{silent.LocalAddr().String(), "127.0.0.1:9", "nobody.test:9"}
	s := echoServer(t, address("127.0.0.1", freePort(t)), "harvest")
	c := frontend.Config{
		Workers: 1, Settings: frontend.Settings{HelloRate: limit.Rate{PerSecond: -1}, HarvestPool: 64},
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such name") },
	}
	for i := range dead {
		c.Services = append(c.Services, frontend.Service{Listen: address("127.0.0.1", freePort(t)), Backends: []frontend.Backend{{Address: whose[i%len(whose)]}}})
	}
	good := address("127.0.0.1", freePort(t))
	c.Services = append(c.Services, frontend.Service{Listen: good, Backends: frontend.At(s.addr)})
	g, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("guard: %v", err)
		}
	})
	eventually(t, "the service with a server is ready", func() bool { return ready(g, good) })
	t.Logf("ready after %v", time.Since(began))
	cl := openssl()(t, good)
	cl.ping("among the dead")
	cl.close()
	if g.Available() != nil || g.Ready() == nil {
		t.Errorf("available: %v; every service: %v", g.Available(), g.Ready())
	}
	eventually(t, "each dead service reports why", func() bool {
		n := 0
		for _, r := range g.Readiness() {
			if why := strings.Join(r.Reasons, " "); !r.Ready && (strings.Contains(why, "no answer") || strings.Contains(why, "no such name")) {
				n++
			}
		}
		return n == dead
	})
}
