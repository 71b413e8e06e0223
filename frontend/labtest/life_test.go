package labtest

import (
	"strings"
	"testing"
	"time"
)

// unload takes the programs off without a daemon.
func (p *place) unload() string {
	p.t.Helper()
	return output(p.t, p.Guard, program(), "unload", "--interface", iface, "--pin", p.pin)
}

// An association from before the guard survives its coming and its going: the server's own records vouch for it.
func TestAttachCutsNobody(t *testing.T) {
	p := newPlace(t)
	to := public(p.Lab)[0]
	startServer(t, p.Guard, to, "")
	s := openStream(t, p, to)
	g := p.run(inline(p.Lab)[:2]...)
	s.flows("after the guard's start")
	if e := g.status().XDP.Egress; e["learned"] != 1 {
		t.Errorf("one association was there, and this was learned at egress: %v", e)
	}
	g.stop()
	p.free()
	s.check()
}

// With nothing let through that is not verified, an association goes on through all that can happen to a daemon.
func TestAssociationsOutliveTheDaemon(t *testing.T) {
	p := newPlace(t)
	to := public(p.Lab)[0]
	startServer(t, p.Guard, to, "")
	args := append(inline(p.Lab)[:2], "--unverified", "drop")
	g := p.run(args...)
	s := openStream(t, p, to)

	g.kill()
	if p.attached() == "" || len(p.pinned()) == 0 {
		t.Error("the programs went with the killed daemon")
	}
	s.flows("after kill -9")

	g = p.run(append(args, "--keep-attached")...)
	s.flows("after a restart")
	if x := g.status().XDP; x.Flows == 0 || x.Verdicts["pass-verified"] != 1 {
		t.Errorf("the new daemon did not adopt the old one's flows and counters: %+v", x)
	}

	g.stop()
	if p.attached() == "" {
		t.Error("the programs went in spite of --keep-attached")
	}
	s.flows("after SIGTERM with --keep-attached")

	g = p.run(args...)
	s.flows("after an upgrade")
	if v := g.status().XDP.Verdicts; v["drop-unverified"] > 0 {
		t.Errorf("packets of the association were dropped: %v", v)
	}
	g.stop()
	p.free()
	s.check()
}

// Programs that a dead daemon left are taken off by unload, and it is no error if there are none.
func TestUnload(t *testing.T) {
	p := newPlace(t)
	to := public(p.Lab)[0]
	startServer(t, p.Guard, to, "")
	g := p.run(inline(p.Lab)[:2]...)
	s := openStream(t, p, to)
	g.kill()
	if said := p.unload(); said != iface+" is free\n" {
		t.Errorf("unload says %q", said)
	}
	p.free()
	s.check()
	if said := p.unload(); !strings.Contains(said, "nothing") {
		t.Errorf("a second unload says %q", said)
	}
}

// A guard that does not pin goes without a trace, however it ends.
func TestWithoutPins(t *testing.T) {
	p := newPlace(t)
	startServer(t, p.Guard, public(p.Lab)[0], "")
	p.pin = "off"
	g := p.run(inline(p.Lab)[:2]...)
	g.kill()
	for end := time.Now().Add(patience); p.attached() != ""; {
		if time.Now().After(end) {
			t.Fatalf("still attached: %s", p.attached())
		}
	}
}
