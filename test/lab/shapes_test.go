package lab

import (
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// whole are clients whose ClientHello is one fragment, clients are those of all kinds.
var (
	whole   = map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion}
	clients = map[string]dialer{
		"openssl": openssl(), "gnutls": gnutls(), "pion": pion,
		// ClientHellos in several handshake fragments.
		"openssl-fragments": openssl("-mtu", "256"),
		"gnutls-fragments":  gnutls("--mtu", "128"),
	}
)

// shape is a way to deploy the guard in front of a server that accepts any cookie.
type shape struct {
	args func() []string
	// serve starts the servers, one for each address.
	serve func(*testing.T, *lab.Lab) []*server
}

var shapes = map[string]shape{
	"inline": {inline, func(t *testing.T, l *lab.Lab) (s []*server) {
		for _, a := range public {
			s = append(s, startServer(t, l.Middle, a))
		}
		return s
	}},
	"proxy": {proxy, func(t *testing.T, l *lab.Lab) (s []*server) {
		for _, a := range behind {
			s = append(s, startServer(t, l.Server, a))
		}
		return s
	}},
}

// reach connects a client of each kind to each server.
func reach(t *testing.T, l *lab.Lab, to ...netip.AddrPort) { t.Helper(); reachBy(t, l, clients, to...) }

func reachBy(t *testing.T, l *lab.Lab, kinds map[string]dialer, to ...netip.AddrPort) {
	t.Helper()
	for name, dial := range kinds {
		for _, a := range to {
			t.Run(name+"/"+a.Addr().String(), func(t *testing.T) {
				t.Parallel()
				c := dial(t, l, a)
				c.ping("over " + name)
				c.close()
			})
		}
	}
}

// Clients of all kinds reach a server in every shape, whether XDP or workers answer.
func TestClients(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"auto", "workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				s.serve(t, p.Lab)
				g := p.run(append(s.args(), "--answer", answer)...)
				to := public
				t.Run("reach", func(t *testing.T) { reach(t, p.Lab, to[:]...) })
				g.answered(answer != "workers", len(clients)*len(to))
				g.stop()
				p.free()
			})
		}
	}
}

// answered checks who answered n clients or more, that all of them were verified in the kernel, and that some
// sent their ClientHellos in fragments.
func (g *guard) answered(inKernel bool, n int) {
	g.t.Helper()
	x := g.status().XDP
	by, not := "steered", "answered"
	if inKernel {
		by, not = not, by
	}
	v := x.Verdicts
	if v[by] < uint64(n) || v[not] > 0 || v["pass-verified"] < uint64(n) {
		g.t.Errorf("%d clients, want none %s: verdicts %v", n, not, v)
	}
	if x.Reasons["later-fragment"] == 0 {
		g.t.Errorf("no ClientHello was in fragments: %v", x.Reasons)
	}
}

// An association loses nothing when its packets move to another CPU, whether XDP or a worker answered its ClientHello.
func TestAssociationsChangeCPU(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				s.serve(t, p.Lab)
				// XDP selects no socket for a port that two services share: only one service here.
				args := s.args()
				p.run(append(args[:len(args)/2], "--answer", answer)...)
				st := openStream(t, p, public[0])
				for range 10 {
					st.flows("before its end")
				}
				st.check(0)
			})
		}
	}
}

// Where the driver has no XDP, generic mode serves the same clients.
func TestGenericMode(t *testing.T) {
	for name, s := range shapes {
		for _, answer := range []string{"workers", "xdp"} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				p := newPlace(t)
				s.serve(t, p.Lab)
				g := p.run(append(s.args(), "--answer", answer, "--xdp-mode", "generic")...)
				t.Run("reach", func(t *testing.T) { reach(t, p.Lab, public[:]...) })
				g.answered(answer == "xdp", len(clients)*len(public))
				g.stop()
				p.free()
			})
		}
	}
}

// A guard with --monitor lets the server answer, and counts what it would have done.
func TestMonitor(t *testing.T) {
	p := newPlace(t)
	srv := startServer(t, p.Middle, public[0])
	g := p.run(first("--monitor")...)
	newAsker(t, p, public[0]).until(serverCookie, "from the server itself")
	srv.tap.look()
	if v := g.status().XDP.Verdicts; v["answered"] < 3 || srv.tap.received < 3 {
		t.Errorf("verdicts with --monitor: %v; %d datagrams came to the server", v, srv.tap.received)
	}
	g.stop()
	p.free()
}

// Fewer workers than CPUs, down to one, whose socket is alone in its group, and more of them than CPUs.
func TestNumbersOfWorkers(t *testing.T) {
	for _, n := range []string{"1", "5"} {
		t.Run(n, func(t *testing.T) {
			p := newPlace(t)
			startServer(t, p.Middle, public[0])
			g := p.run(first("--answer", "workers", "--workers", n)...)
			for range 4 {
				c := pion(t, p.Lab, public[0])
				c.ping("by " + n)
				c.close()
			}
			if v := g.status().XDP.Verdicts; v["steered"] < 4 {
				t.Errorf("want 4 ClientHellos steered: %v", v)
			}
			g.stop()
			p.free()
		})
	}
}
