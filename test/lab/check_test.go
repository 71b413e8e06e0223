package lab

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/cookie"
)

// checked is the outcome of `dtlsguard check --json`.
type checked struct {
	OK       bool
	Findings []struct{ Level, Name, Text, Hint string }
	Backends []struct {
		Address, Handoff string
		Profile          struct{ Trusts bool }
	}
}

// check runs it in the guard's host and checks that its findings are consistent.
func (p *place) check(cmd *exec.Cmd) (c checked) {
	p.t.Helper()
	run := startCmd(p.t, p.Middle, cmd)
	status := run.End()
	line, _, _ := strings.Cut(run.Text(), "\n")
	if err := json.Unmarshal([]byte(line), &c); err != nil {
		p.t.Fatalf("%q: %v", run.Text(), err)
	}
	ok := true
	for _, f := range c.Findings {
		if ok = ok && f.Level != "FAIL"; (f.Hint == "") != (f.Level == "PASS") {
			p.t.Errorf("%+v: want a hint for each problem, and none otherwise", f)
		}
	}
	if c.OK != ok || (status == 0) != ok {
		p.t.Errorf("exit status %d, ok %v, of %+v", status, c.OK, c.Findings)
	}
	return c
}

// says reports whether there is a finding with this level and name that contains text.
func (c *checked) says(level, name, text string) bool {
	for _, f := range c.Findings {
		if f.Level == level && f.Name == name && strings.Contains(f.Text, text) {
			return true
		}
	}
	return false
}

func TestCheck(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	command := func(args ...string) *exec.Cmd {
		return exec.Command(program(), append([]string{"check", "--json"}, args...)...)
	}
	c := p.check(command("--interface", iface, "--allow-unguarded", "--backend", public[0].String()))
	if !c.OK || !c.says("PASS", "programs", "load") || !c.says("PASS", "XDP mode", "native") || !c.says("PASS", "veth peer", "native") ||
		!c.says("PASS", "cookies", cookie.Names()[0]) && !c.says("PASS", "cookies", "for 1") {
		t.Errorf("of a working network: %+v", c)
	}
	if b := c.Backends; len(b) != 1 || b[0].Address != public[0].String() || b[0].Handoff != "trust" || !b[0].Profile.Trusts || !c.says("PASS", "back end "+public[0].String(), "--handoff trust") {
		t.Errorf("of a server that trusts: %+v", c)
	}
	p.free()

	g := p.run(first()...)
	if c := p.check(command("--interface", iface)); !c.says("WARN", "attached", "XDP program") || !c.says("PASS", "XDP mode", "native") {
		t.Errorf("where a guard is attached: %+v", c)
	}
	g.stop()

	if c := p.check(command("--interface", "nosuch0", "--backend", "127.0.0.1:9")); !c.says("FAIL", "interface", "nosuch0") || !c.says("FAIL", "back end 127.0.0.1:9", "no answer") {
		t.Errorf("of a missing interface and server: %+v", c)
	}

	if c := p.check(p.ordinary(command("--interface", iface))); c.OK || !c.says("FAIL", "capabilities", "CAP_BPF") || !c.says("WARN", "shapes", "a proxy without XDP") {
		t.Errorf("without privileges, with an interface: %+v", c)
	}
	if c := p.check(p.ordinary(command())); !c.OK {
		t.Errorf("without privileges, without an interface: %+v", c)
	}
}

// A veth whose peer has no XDP program drops answers from the driver: check reports it, and workers answer,
// unless --answer xdp is given.
func TestVethWithoutPeer(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	if err := p.Bare(); err != nil {
		t.Fatal(err)
	}
	c := p.check(exec.Command(program(), "check", "--json", "--interface", iface))
	if !c.OK || !c.says("WARN", "veth peer", "has none") || !c.says("PASS", "shapes", "workers answer") {
		t.Errorf("%+v", c)
	}
	g := p.run(first("--handoff", "trust")...)
	g.Expect("answers in the driver would be lost")
	client := pion(t, p.Lab, public[0])
	client.ping("by a worker")
	client.close()
	if v := g.status().XDP.Verdicts; v["answered"] > 0 || v["steered"] == 0 {
		t.Errorf("want workers to answer: %v", v)
	}
	g.stop()
	p.free()
}

// Every cookie implementation that this CPU supports serves clients, and status names it.
func TestCookieImplementations(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	for _, name := range cookie.Names() {
		g := p.run(first("--answer", "workers", "--cookie-impl", name)...)
		c := pion(t, p.Lab, public[0])
		c.ping("with " + name)
		c.close()
		if got := g.status().Flags["cookie-impl"]; got != name {
			t.Errorf("status shows %v, want %s", got, name)
		}
		g.stop()
	}
}
