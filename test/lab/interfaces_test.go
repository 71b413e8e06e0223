package lab

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// twoSides makes a network whose guard can answer in the kernel on both sides.
func twoSides(t *testing.T) *place {
	p := newPlace(t)
	if err := p.PassXDP(p.Server, lab.ToMiddle); err != nil {
		t.Fatal(err)
	}
	return p
}

// both are the flags of a guard on both interfaces of its host, so that no path bypasses it.
var both = []string{"--interface", lab.ToClient, "--interface", lab.ToServer, "--allow-unguarded=false"}

// on returns the status of one interface.
func (g *guard) on(name string) frontend.InterfaceStatus {
	g.t.Helper()
	all := g.status().XDP.Interfaces
	i := slices.IndexFunc(all, func(i frontend.InterfaceStatus) bool { return i.Interface == name })
	if i < 0 {
		g.t.Fatalf("no %s among %+v", name, all)
	}
	return all[i]
}

// get returns the body of the guard's answer over HTTP, a space and the status.
func (g *guard) get(path string) string {
	g.t.Helper()
	return output(g.t, g.place.Middle, "curl", "-s", "-w", " %{http_code}", "http://"+frontend.DefaultMetrics+path)
}

// gauge is the metric that says whether XDP is attached to an interface.
func gauge(iface string, attached int) string {
	return fmt.Sprintf("dtlsguard_xdp_mode{interface=%q,mode=\"native\"} %d\n", iface, attached)
}

// A guard on two interfaces answers on both, with one flow table and one secret. It notices what happens to either of them,
// and reports that it is not ready while the server can be reached past it.
func TestTwoInterfaces(t *testing.T) {
	p := twoSides(t)
	to := public[0]
	servers := shapes["inline"].serve(t, p.Lab)
	g := p.run(slices.Concat(inline(), both, []string{"--unverified", "drop", "--metrics-listen", frontend.DefaultMetrics})...)
	for _, name := range []string{lab.ToClient, lab.ToServer} {
		if i := g.on(name); i.Mode != "native" || i.Lost != "" || p.attachedTo(name) == "" {
			t.Errorf("%+v, %s", i, p.attachedTo(name))
		}
	}
	session := openStream(t, p, to)
	byClient, byServer := newAsker(t, p, to), askerIn(t, p.Server, to)
	byClient.until(guardCookie, "by the one")
	byServer.until(guardCookie, "by the other")

	// A flood through both stays out, and clients get in.
	floods := []*flooder{newFlooder(t, p), floodFrom(t, p, p.Server, lab.ToServer)}
	before := packets(g)
	for _, f := range floods {
		f.send(floodSize / 10)
	}
	c := gnutls()(t, p.Lab, to)
	c.ping("in a flood by both")
	c.close()
	for _, s := range servers {
		if s.tap.look(); s.tap.flood > 0 || packets(g) == before {
			t.Errorf("%d datagrams of the flood came to the server, and the programs have seen %d", s.tap.flood, packets(g)-before)
		}
	}

	// Somebody detaches the programs from one interface.
	output(t, p.Middle, program(), "unload", "--interface", lab.ToServer, "--pin", p.pin, "--force")
	g.Until("attached again", func() bool { return g.on(lab.ToServer).Reattached == 1 })
	g.ready()
	byServer.until(guardCookie, "attached again")

	// One is renamed and stays guarded; a changed MTU is logged.
	p.inGuardOn(lab.ToServer, func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) })
	g.Expect("MTU of the interface has changed")
	p.inGuardOn(lab.ToServer, netlink.LinkSetDown)
	g.Expect("interface is down")
	g.ready() // clients come in through the other one
	p.inGuardOn(lab.ToServer, func(l netlink.Link) error { return netlink.LinkSetName(l, "renamed0") })
	p.inGuardOn("renamed0", netlink.LinkSetUp)
	g.Expect("interface was renamed")
	g.Until("it has its new name", func() bool { i := g.on(lab.ToServer); return i.Name == "renamed0" && i.Lost == "" && i.Up })
	g.ready()
	if p.attachedTo("renamed0") == "" {
		t.Error("a renamed interface is no longer guarded")
	}

	// It is removed, and another interface gets its name.
	p.inGuardOn("renamed0", netlink.LinkDel)
	g.unready("the interface is gone")
	if s := g.get("/readyz"); !strings.HasSuffix(s, " 503") || !strings.Contains(s, "the interface is gone") {
		t.Errorf("/readyz while an interface is gone: %s", s)
	}
	if s := g.get("/metrics"); !strings.Contains(s, gauge(lab.ToServer, 0)) || !strings.Contains(s, gauge(lab.ToClient, 1)) {
		t.Error("/metrics while an interface is gone has no ", gauge(lab.ToServer, 0))
	}
	output(t, p.Middle, "ip", "link", "add", lab.ToServer, "type", "veth", "peer", "other0")
	for _, name := range []string{"other0", lab.ToServer} {
		p.inGuardOn(name, netlink.LinkSetUp)
	}
	g.Until("attached again", func() bool { return g.on(lab.ToServer).Reattached == 2 })
	g.unready("can be reached past the guard by other0") // no guard is on this one
	p.inGuardOn("other0", netlink.LinkSetDown)
	g.ready()
	if s := g.get("/readyz"); !strings.HasSuffix(s, " 200") {
		t.Errorf("/readyz when it is back: %s", s)
	}
	if s := g.get("/metrics"); !strings.Contains(s, gauge(lab.ToServer, 1)) {
		t.Error("/metrics when it is back has no ", gauge(lab.ToServer, 1))
	}
	session.flows("through all of it")

	g.stop()
	for _, name := range []string{lab.ToClient, lab.ToServer} {
		if a := p.attachedTo(name); a != "" {
			t.Errorf("still on %s: %s", name, a)
		}
	}
	p.free()
	session.check(2)
}

// The next guard takes over the programs of a killed one on two interfaces, and detaches them from an interface it no longer has.
func TestTwoInterfacesRestart(t *testing.T) {
	p := twoSides(t)
	to := public[0]
	startServer(t, p.Middle, to)
	args := first("--unverified", "drop")
	g := p.run(append(both, args...)...)
	s := openStream(t, p, to)
	g.Kill()
	if p.attachedTo(lab.ToClient) == "" || p.attachedTo(lab.ToServer) == "" {
		t.Error("the programs were detached with the killed daemon")
	}
	g = p.run(append(both, args...)...)
	s.flows("after a restart")
	g.Kill()
	g = p.run(args...)
	s.flows("after a restart with one")
	if a := p.attachedTo(lab.ToServer); a != "" {
		t.Errorf("still on an interface that is no longer configured:  %s", a)
	}
	g.stop()
	p.free()
	s.check(3)
}

// A service is guarded on the interfaces that it names, and nowhere else.
func TestServiceOnOneInterface(t *testing.T) {
	p := twoSides(t)
	for _, a := range public {
		startServer(t, p.Middle, a)
	}
	file := filepath.Join(t.TempDir(), "guard.toml")
	write(t, file, fmt.Sprintf("interface = [%q, %q]\n[[service]]\nprotect = \"%v\"\ninterface = [%q]\n[[service]]\nprotect = \"%v\"\n", lab.ToClient, lab.ToServer, public[0], lab.ToServer, public[1]))
	args := p.arguments("--config", file)
	at := slices.Index(args, "--interface") // a flag would be for all services
	g := &guard{start(t, p.Middle, program(), slices.Delete(args, at, at+2)...), p}
	g.answers()
	g.ready()
	g.Expect("the server can be reached unchecked by interfaces without XDP")
	newAsker(t, p, public[0]).until(serverCookie, "by an interface that the service does not name")
	askerIn(t, p.Server, public[0]).until(guardCookie, "by the one that it names")
	newAsker(t, p, public[1]).until(guardCookie, "a service that names none, by the one interface")
	askerIn(t, p.Server, public[1]).until(guardCookie, "... by the other")
	g.stop()
	p.free()
}

// A server that trusts the guard and can be reached past it is never reported ready: with an explicit mode the guard
// does not start, and under auto it reports the open path.
func TestUnguardedInterface(t *testing.T) {
	p := newPlace(t)
	to := public[0]
	startServer(t, p.Middle, to)
	strict := first("--allow-unguarded=false")
	p.refused(p.command(strict...), exitRun, "past the guard by "+lab.ToServer, "--allow-unguarded")
	g := p.attach(strict...)
	g.unready("past the guard by "+lab.ToServer, "--allow-unguarded")
	if st := g.status(); st.Ready {
		t.Error("the guard reports itself ready")
	}
	p.inGuardOn(lab.ToServer, netlink.LinkSetDown)
	g.ready()
	p.inGuardOn(lab.ToServer, netlink.LinkSetUp)
	g.unready("past the guard by " + lab.ToServer)
	g.stop()
	g = p.run(first()...)
	g.Expect("can be reached unchecked by interfaces without XDP")
	g.stop()

	check := func(args ...string) checked {
		return p.check(exec.Command(program(), append([]string{"check", "--json", "--backend", to.String()}, args...)...))
	}
	if c := check("--interface", iface); c.OK || !c.says("FAIL", "other interfaces", lab.ToServer) {
		t.Errorf("check: %+v", c)
	}
	if c := check("--interface", iface, "--allow-unguarded"); !c.OK || !c.says("WARN", "other interfaces", lab.ToServer) {
		t.Errorf("check, allowed: %+v", c)
	}
	if c := check("--interface", iface, "--interface", lab.ToServer); !c.OK || strings.Contains(fmt.Sprint(c), "other interfaces") {
		t.Errorf("check of both: %+v", c)
	}
}
