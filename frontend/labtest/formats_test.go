package labtest

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/lab"
	"github.com/dtlsguard/dtlsguard/bench/peers"
)

// A server that computes the guard's cookies from a shared secret takes clients over, and keeps to it when the
// secret is another one.
func TestNativeHMAC(t *testing.T) {
	for _, answer := range []string{"workers", "xdp"} {
		t.Run(answer, func(t *testing.T) {
			p := newPlace(t)
			secrets := filepath.Join(t.TempDir(), "secrets")
			first, second := p.secret(), p.secret()
			// The server knows both; the guard goes from one to the other.
			write(t, secrets, first+second)
			servers := make([]*server, 0, 2)
			for _, a := range public {
				servers = append(servers, startServer(t, p.Guard, a, secrets))
			}
			write(t, secrets, first)
			g := p.run(append(inline(), "--answer", answer, "--handoff", "native-hmac", "--secret-file", secrets)...)
			before := g.status().Secret.Fingerprint
			to := public
			t.Run("reach", func(t *testing.T) { reach(t, p.Lab, to[:]...) })
			write(t, secrets, second)
			g.signal(syscall.SIGHUP)
			g.until("the new secret", func() bool { return g.status().Secret.Fingerprint != before })
			t.Run("rotated", func(t *testing.T) { reach(t, p.Lab, to[:]...) })
			g.answered(answer == "xdp", 2*len(clients)*len(to))
			for _, s := range servers {
				if c := s.counts(); c.clients != uint64(2*len(clients)) {
					t.Errorf("%+v, want %d clients", c, 2*len(clients))
				}
			}
			g.stop()
		})
	}
}

// A Qt server whose verifier has the guard's secret takes clients over, inline, and the kernel makes its cookies.
func TestNativeQt(t *testing.T) {
	qt := peers.Find("qt")
	path, err := qt.Build(t.TempDir())
	require(t, "Qt", err)
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, answer := range []string{"auto", "workers", "xdp"} {
		t.Run(answer, func(t *testing.T) {
			p := newPlace(t)
			secrets := filepath.Join(t.TempDir(), "secrets")
			write(t, secrets, p.secret())
			for _, a := range public {
				s := start(t, p.Guard, path, peers.Arguments(a, id, secrets)...)
				s.until("Qt listens", func() bool { return inUse(t, p.Guard, a) })
			}
			g := p.run(append(inline(), "--answer", answer, "--handoff", "native-qt", "--secret-file", secrets)...)
			newFlooder(t, p).send(1000)
			to := public
			t.Run("reach", func(t *testing.T) { reach(t, p.Lab, to[:]...) })
			g.answered(answer != "workers", len(clients)*len(to))
			g.stop()
			p.free()
		})
	}
}

// Formulas that only workers know are theirs under auto, and a refusal if the kernel is asked for by name.
func TestFormulaOfWorkers(t *testing.T) {
	p := newPlace(t)
	secrets := filepath.Join(t.TempDir(), "secrets")
	write(t, secrets, p.secret())
	args := first("--handoff", "native-wolfssl", "--secret-file", secrets)
	p.refused(p.command(append(args, "--answer", "xdp")...), exitUsage, "--answer xdp", "native-wolfssl", "leave --answer out")
	p.free()
	g := p.run(args...)
	newAsker(t, p, public[0]).until(guardCookie, "from a worker")
	if v := g.status().XDP.Verdicts; v["answered"] > 0 || v["steered"] == 0 {
		t.Errorf("what became of ClientHellos: %v", v)
	}
	g.stop()
}

// Servers that ask a verified client once more themselves, and those that must be asked first: the kernel gives the
// guard's cookies for them, and leaves to workers what a client says to the server's own.
func TestServersAskAgain(t *testing.T) {
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ server, cookies, handoff string }{
		{"mbedtls", "", "double-hvr"}, {"wolfssl", "", "double-hvr"}, {"openssl-accept", "trust", "replay"},
	} {
		t.Run(c.server, func(t *testing.T) {
			p := newPlace(t)
			path, err := peers.Find(c.server).Build(t.TempDir())
			require(t, c.server, err)
			for _, a := range behind {
				s := start(t, p.Server, path, peers.Arguments(a, id, c.cookies)...)
				s.until("it listens", func() bool { return inUse(t, p.Server, a) })
			}
			g := p.run(append(proxy(), "--handoff", c.handoff)...)
			newFlooder(t, p).send(1000)
			for _, to := range public {
				for name, dial := range map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion} {
					c := dial(t, p.Lab, to)
					c.ping("over " + name)
					c.close()
				}
			}
			v := g.status().XDP.Verdicts
			if v["answered"] < 6 || v["steered"] > 0 || v["pass-verified"] < 6 {
				t.Errorf("six clients, and this is what became of their packets: %v", v)
			}
			g.stop()
		})
	}
}

// inUse reports whether a UDP address of h is somebody's.
func inUse(t *testing.T, h *lab.Namespace, a netip.AddrPort) bool {
	t.Helper()
	table := "/proc/thread-self/net/udp"
	if a.Addr().Is6() {
		table += "6"
	}
	var sockets []byte
	err := h.Do(func() (err error) {
		sockets, err = os.ReadFile(table)
		return err
	})
	return err == nil && strings.Contains(string(sockets), fmt.Sprintf(":%04X ", a.Port()))
}

// secret makes one, with the program.
func (p *place) secret() string {
	p.t.Helper()
	return output(p.t, p.Guard, program(), "secret", "generate")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Unmodified servers of others, whose cookies the guard harvests: the kernel answers for them. Generic mode leaves
// it to the workers.
func TestHarvestPrograms(t *testing.T) {
	need(t, "openssl", "gnutls-serv")
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
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
				argv := command(from)
				srv := start(t, p.Server, argv[0], argv[1:]...)
				g := p.run("--listen", to.String(), "--backend", from.String(), "--xdp-mode", mode)
				if h := g.status().Services[0].Backend.Handoff; h != "harvest" {
					t.Fatalf("hand-off is %s", h)
				}
				newFlooder(t, p).send(1000)
				c := gnutls()(t, p.Lab, to).(*commandClient)
				if name == "openssl" { // it shows what comes, and sends what it reads
					c.say("there")
					srv.expect("there\n")
					srv.say("and back")
					c.expect("and back\n")
				} else {
					c.ping("there and back")
				}
				c.close()
				v := g.status().XDP.Verdicts
				if native := mode == "native"; native != (v["answered"] > 0) || native != (v["steered"] == 0) || v["pass-verified"] == 0 || v["pass-flow"] == 0 {
					t.Errorf("what became of packets to a service with harvested cookies: %v", v)
				}
				g.stop()
			})
		}
	}
}

// Clients of all kinds reach an unmodified server of many clients, whoever answers, and a flood does not: in the
// kernel it ends, with the server's own cookies.
func TestHarvest(t *testing.T) {
	for _, answer := range []string{"auto", "workers", "xdp"} {
		t.Run(answer, func(t *testing.T) {
			p := newPlace(t)
			var servers []*server
			for _, a := range behind {
				servers = append(servers, startServer(t, p.Server, a, byAddress))
			}
			g := p.run(append(proxy(), "--answer", answer)...)
			for _, s := range g.status().Services {
				if s.Backend.Handoff != "harvest" {
					t.Fatalf("hand-off is %s", s.Backend.Handoff)
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
				if c := s.counts(); c.flood > 0 || c.clients != uint64(len(clients)) {
					t.Errorf("datagrams at the server: %+v, want %d clients and nothing of the flood", c, len(clients))
				}
			}
			t.Log(g.status().XDP.Verdicts, g.status().XDP.Cookies, g.status().Packets)
			g.stop()
			p.free()
		})
	}
}

// A guard that takes over from one that was killed has sockets of its own, and gives their cookies.
func TestHarvestAfterKill(t *testing.T) {
	p := newPlace(t)
	srv := startServer(t, p.Server, behind[0], byAddress)
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
			g.end()
			continue
		}
		c.close()
		g.stop()
	}
	if c := srv.counts(); c.clients != 2 {
		t.Errorf("%+v, want 2 clients", c)
	}
	p.free()
}
