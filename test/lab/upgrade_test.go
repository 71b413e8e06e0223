package lab

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// An upgrade replaces the programs on the interface in one step, and no flow notices: neither through a proxy behind XDP nor to
// an inline server.
func TestUpgrade(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				to := public[0]
				s.serve(t, p.Lab)
				g := p.run(slices.Concat(s.args(), []string{"--answer", answer, "--workers", "2"})...)
				t.Cleanup(func() { // its successor
					if now, err := g.ask(); err == nil {
						_ = unix.Kill(now.PID, unix.SIGTERM)
					}
				})
				session := openStream(t, p, to)
				for n := range 3 {
					before, loaded := g.status().PID, p.attached()
					output(t, p.Middle, program(), "upgrade", "--control", p.control)
					if now := g.status(); now.PID == before || g.on(iface).Lost != "" || !now.Ready {
						t.Fatalf("process %d after %d, not ready: %q; XDP: %+v", now.PID, before, now.NotReady, now.XDP)
					}
					if now := p.attached(); now == "" || now == loaded {
						t.Errorf("the interface has %q after %q", now, loaded)
					}
					session.flows(fmt.Sprintf("after %d upgrades", n+1))
					c := gnutls()(t, p.Lab, to)
					c.ping("after an upgrade")
					c.close()
				}
				session.check(0)
				last := g.status().PID
				if err := unix.Kill(last, unix.SIGTERM); err != nil {
					t.Fatal(err)
				}
				g.Until("the last guard has detached its programs", func() bool { return p.attached() == "" })
			})
		}
	}
}
