package lab

import (
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Unmodified server programs, whose cookies the guard harvests: the kernel answers for them. Generic mode leaves
// answers to the workers.
func TestHarvestPrograms(t *testing.T) {
	need(t, "openssl", "gnutls-serv")
	id := certFiles(t)
	for name, command := range map[string]func(netip.AddrPort) []string{
		"openssl": func(a netip.AddrPort) []string {
			return []string{"openssl", "s_server", "-dtls1_2", "-listen", "-accept", a.String(), "-4", "-cert", id.Certificate, "-key", id.Key}
		},
		"gnutls": func(a netip.AddrPort) []string {
			return []string{"gnutls-serv", "--udp", "--echo", "--port", strconv.Itoa(int(a.Port())), "--x509certfile", id.Certificate, "--x509keyfile", id.Key}
		},
	} {
		for _, mode := range []string{"native", "generic"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				p := newPlace(t)
				to, from := public[0], behind[0]
				srv := serve(t, p.Server, from, command(from)...)
				g := p.run("--listen", to.String(), "--backend", from.String(), "--xdp-mode", mode)
				if h := g.status().Services[0].Backends[0].Handoff; h != "harvest" {
					t.Fatalf("hand-off is %s", h)
				}
				newFlooder(t, p).send(1000)
				c := gnutls()(t, p.Lab, to).(*commandClient)
				if name == "openssl" { // it prints what it receives and sends what it reads
					c.Say("there")
					srv.Expect("there\n")
					srv.Say("and back")
					c.Expect("and back\n")
				} else {
					c.ping("there and back")
				}
				c.close()
				v := g.status().XDP.Verdicts
				if native := mode == "native"; native != (v["answered"] > 0) || native != (v["steered"] == 0) || v["pass-verified"] == 0 || v["pass-flow"] == 0 {
					t.Errorf("verdicts of a service with harvested cookies: %v", v)
				}
				g.stop()
			})
		}
	}
}

// Clients of all kinds reach an unmodified server for many clients, whoever answers, and a flood does not: it ends in the
// kernel, which answers with the server's own cookies.
func TestHarvest(t *testing.T) {
	for _, answer := range []string{"auto", "workers", "xdp"} {
		t.Run(answer, func(t *testing.T) {
			p := newPlace(t)
			var servers []*server
			for _, a := range behind {
				servers = append(servers, startPeer(t, p.Server, a, "openssl", ""))
			}
			g := p.run(append(proxy(), "--answer", answer)...)
			for _, s := range g.status().Services {
				if s.Backends[0].Handoff != "harvest" {
					t.Fatalf("hand-off is %s", s.Backends[0].Handoff)
				}
			}
			f := newFlooder(t, p)
			for sent := 0; packets(g) < floodSize; sent += floodSize / 10 {
				if sent > 20*floodSize {
					t.Fatalf("the programs have seen %d of %d datagrams", packets(g), sent)
				}
				f.send(floodSize / 10)
			}
			to := public
			t.Run("reach", func(t *testing.T) { reach(t, p.Lab, to[:]...) })
			g.answered(answer != "workers", len(clients)*len(to))
			for _, s := range servers {
				s.tap.look()
				if n := s.clients(len(clients)); s.tap.flood > 0 || n != len(clients) {
					t.Errorf("%d clients and %d datagrams of the flood at the server, want %d and none", n, s.tap.flood, len(clients))
				}
			}
			t.Log(g.status().XDP.Verdicts, g.status().XDP.Cookies, g.status().Packets)
			g.stop()
			p.free()
		})
	}
}

// A guard that takes over from a killed one has new sockets, and issues their cookies.
func TestHarvestAfterKill(t *testing.T) {
	p := newPlace(t)
	srv := startPeer(t, p.Server, behind[0], "openssl", "")
	for i := range 2 {
		g := p.run(proxy()[:4]...)
		c := gnutls()(t, p.Lab, public[0])
		c.ping("there and back")
		if v := g.status().XDP.Verdicts; v["answered"] < uint64(i+1) || v["steered"] > 0 {
			t.Errorf("guard %d: %v", i, v)
		}
		if names := p.pinned(); len(names) == 0 || slices.Contains(names, "harvested") {
			t.Errorf("guard %d: pinned: %v", i, names)
		}
		if i == 0 {
			g.signal(syscall.SIGKILL)
			g.End()
			continue
		}
		c.close()
		g.stop()
	}
	if n := srv.clients(2); n != 2 {
		t.Errorf("%d clients, want 2", n)
	}
	p.free()
}
