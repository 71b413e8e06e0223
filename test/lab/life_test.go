package lab

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// unload detaches the programs without a daemon.
func (p *place) unload() string {
	p.t.Helper()
	return output(p.t, p.Middle, program(), "unload", "--interface", iface, "--pin", p.pin)
}

// An association that is older than the guard survives the guard's start and stop: the server's records confirm it.
func TestAttachCutsNobody(t *testing.T) {
	p := newPlace(t)
	to := public[0]
	startServer(t, p.Middle, to)
	s := openStream(t, p, to)
	g := p.run(first()...)
	s.flows("after the guard's start")
	if e := g.status().XDP.Egress; e["learned"] != 1 {
		t.Errorf("one association existed, learned at egress: %v", e)
	}
	g.stop()
	p.free()
	s.check(2)
}

// With --unverified drop, an association survives everything that can happen to a daemon.
func TestAssociationsOutliveTheDaemon(t *testing.T) {
	p := newPlace(t)
	to := public[0]
	startServer(t, p.Middle, to)
	args := first("--unverified", "drop")
	g := p.run(args...)
	s := openStream(t, p, to)

	g.Kill()
	if p.attached() == "" || len(p.pinned()) == 0 {
		t.Error("the programs went with the killed daemon")
	}
	s.flows("after kill -9")

	g = p.run(first("--unverified", "drop", "--keep-attached")...)
	s.flows("after a restart")
	if x := g.status().XDP; x.Flows == 0 || x.Verdicts["pass-verified"] != 1 {
		t.Errorf("the new daemon did not adopt the old one's flows and counters: %+v", x)
	}

	g.stop()
	if p.attached() == "" {
		t.Error("the programs were detached in spite of --keep-attached")
	}
	s.flows("after SIGTERM with --keep-attached")

	g = p.run(args...)
	s.flows("after an upgrade")
	if v := g.status().XDP.Verdicts; v["drop-unverified"] > 0 {
		t.Errorf("packets of the association were dropped: %v", v)
	}
	g.stop()
	p.free()
	s.check(4)
}

// unload detaches the programs of a dead daemon; if there are none, it succeeds.
func TestUnload(t *testing.T) {
	p := newPlace(t)
	to := public[0]
	startServer(t, p.Middle, to)
	g := p.run(first()...)
	s := openStream(t, p, to)
	g.Kill()
	if said := p.unload(); said != iface+" is free\n" {
		t.Errorf("unload says %q", said)
	}
	p.free()
	s.check(2)
	if said := p.unload(); !strings.Contains(said, "nothing") {
		t.Errorf("a second unload says %q", said)
	}
}

// Programs that somebody detaches from a running guard's interface are attached again. Until then, and while the interface is
// gone, the guard reports that it is not ready.
func TestAttachedAgain(t *testing.T) {
	p := newPlace(t)
	to := public[0]
	startServer(t, p.Middle, to)
	g := p.run(first()...)
	bare := exec.Command(program(), "unload", "--interface", iface, "--pin", p.pin)
	p.refusedBeside(bare, exitRun, "a guard that is alive", "stop the guard")
	if p.attached() == "" {
		t.Fatal("unload has detached the programs of a running guard")
	}
	before := p.attached()
	output(t, p.Middle, program(), "unload", "--interface", iface, "--pin", p.pin, "--force")
	g.Expect("XDP attached again")
	if p.attached() == "" || p.attached() == before && len(p.pinned()) == 0 {
		t.Errorf("attached: %q, and before: %q; pinned: %v", p.attached(), before, p.pinned())
	}
	g.ready()
	newAsker(t, p, to).until(guardCookie, "attached again")

	p.inGuard(netlink.LinkSetDown)
	g.unready("is down")
	p.inGuard(netlink.LinkSetUp)
	g.ready()
	told := strings.Join(regexp.MustCompile("xdp-[a-z]+ .*interface="+iface+"  (mode|error)=.").FindAllString(output(t, p.Middle, program(), "events", "--control", p.control), 3), "\n")
	if kinds := regexp.MustCompile("xdp-[a-z]+").FindAllString(told, -1); !slices.Equal(kinds, []string{"xdp-attached", "xdp-lost", "xdp-attached"}) {
		t.Errorf("told of %s", told)
	}
	g.stop()
	p.free()
}

// An inline server that dies is noticed, and so is its return.
func TestInlineServerDies(t *testing.T) {
	p := newPlace(t)
	srv := startServer(t, p.Middle, public[0])
	g := p.run(first()...)
	srv.Kill()
	g.unready("nothing listens there")
	startServer(t, p.Middle, public[0])
	g.ready()
	g.stop()
	p.free()
}

// A guard that does not pin leaves no trace, however it ends.
func TestWithoutPins(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	p.pin = "off"
	g := p.run(first()...)
	g.Kill()
	for end := time.Now().Add(patience); p.attached() != ""; {
		if time.Now().After(end) {
			t.Fatalf("still attached: %s", p.attached())
		}
	}
}

// Two hosts that share a bpffs, as containers may, and have an interface of the same name do not take over each
// other's programs.
func TestNeighboursPins(t *testing.T) {
	p := newPlace(t)
	g := p.attach(first("--handoff", "trust")...)
	neighbour := *p
	neighbour.Lab, neighbour.control = newLab(t, "neighbour"), p.control+"2"
	refused := func() {
		neighbour.refusedBeside(neighbour.command(first()...), exitRun, "another network namespace", "--pin")
		if a := neighbour.attached(); a != "" {
			t.Errorf("attached on the other host: %s", a)
		}
		if p.attached() == "" || len(p.pinned()) == 0 {
			t.Error("the other host's guard detached the programs")
		}
	}
	refused()
	g.Kill()
	refused()
	p.unload()
	p.free()
}

// A second guard on the same interface is refused, and the first one continues undisturbed.
func TestSecondGuard(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	g := p.run(first()...)
	secret := g.status().Secrets[0].Fingerprint
	p.refusedBeside(p.command(first()...), exitRun, "another dtlsguard answers there")
	p.refusedBeside(p.command(first("--control", p.control+"2")...), exitRun, "another running dtlsguard", "--pin")
	newAsker(t, p, public[0]).until(guardCookie, "beside a second guard")
	c := pion(t, p.Lab, public[0])
	c.ping("beside a second guard")
	c.close()
	if now := g.status().Secrets[0].Fingerprint; now != secret {
		t.Error("the second guard changed the secret")
	}
	g.stop()
	p.free()
}

// A failed start leaves the programs of a killed guard attached for the next start.
func TestFailedStart(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Middle, public[0])
	args := first("--unverified", "drop")
	g := p.run(args...)
	s := openStream(t, p, public[0])
	g.Kill()
	p.refusedBeside(p.command(append(inline(), "--secret-file", "/nonexistent")...), exitRun, "/nonexistent", "secret generate")
	if p.attached() == "" {
		t.Error("the failed start detached the programs")
	}
	s.flows("after a failed start")
	g = p.run(args...)
	s.flows("after a successful start")
	g.stop()
	p.free()
	s.check(2)
}
