package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// nativeServers start servers that know the secret in a file, by the mode that takes clients to them; the first two are
// those of examples. kernel says that XDP can make their cookies. wolfSSL 5.5 takes no ClientHello in fragments.
var nativeServers = map[string]struct {
	handoff string
	kernel  bool
	start   func(t *testing.T, h *lab.Namespace, at netip.AddrPort, secretFile string) *server
	clients map[string]dialer
}{
	"openssl": {"native-hmac", true, startExample, clients},
	"gate":    {"native-hmac", true, startGate, clients},
	"qt":      {"native-qt", true, startNative("qt"), clients},
	"wolfssl": {"native-wolfssl", false, startNative("wolfssl"), whole},
	"gnutls":  {"native-gnutls", false, startNative("gnutls"), clients},
}

func startNative(name string) func(*testing.T, *lab.Namespace, netip.AddrPort, string) *server {
	return func(t *testing.T, h *lab.Namespace, at netip.AddrPort, secretFile string) *server {
		t.Helper()
		return startPeer(t, h, at, name, secretFile)
	}
}

// Servers that compute the guard's cookies, or have theirs computed by the guard, take clients over inline, whoever
// answers.
func TestNative(t *testing.T) {
	for name, n := range nativeServers {
		ways := map[string][]string{"auto": nil, "workers": {"--answer", "workers"}}
		if !n.kernel { // TestFormulaOfWorkers has the refusal of --answer xdp
			ways["generic"] = []string{"--xdp-mode", "generic"} // the programs see what a worker sends on once more
		}
		for way, args := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				p := newPlace(t)
				secrets := filepath.Join(t.TempDir(), "secrets")
				write(t, secrets, p.secret())
				var servers []*server
				for _, a := range public {
					servers = append(servers, n.start(t, p.Middle, a, secrets))
				}
				g := p.run(slices.Concat(inline(), args, []string{"--handoff", n.handoff, "--secret-file", secrets})...)
				newFlooder(t, p).send(1000)
				to := public
				t.Run("reach", func(t *testing.T) { reachBy(t, p.Lab, n.clients, to[:]...) })
				if n.kernel {
					g.answered(way != "workers", len(n.clients)*len(to))
				} else {
					g.reinjected(len(n.clients) * len(to))
				}
				for _, s := range servers {
					if c := s.clients(len(n.clients)); c != len(n.clients) {
						t.Errorf("%d clients at the server, want %d", c, len(n.clients))
					}
				}
				g.stop()
				p.free()
			})
		}
	}
}

// reinjected checks that workers answered n clients or more, verified them, and sent their ClientHellos on to the server.
func (g *guard) reinjected(n int) {
	g.t.Helper()
	x := g.status().XDP
	if v := x.Verdicts; v["steered"] < uint64(2*n) || v["answered"] > 0 || x.Egress["reinjected"] < uint64(n) || v["pass-flow"] < uint64(n) {
		g.t.Errorf("%d clients, and this is what became of their packets: %v, and at egress: %v", n, v, x.Egress)
	}
}

// A wolfSSL server of DTLS 1.3 has its HelloRetryRequests made by the guard's workers inline. When another takes its place, whose
// secret the guard does not have, the guard notices before a client does, and says so.
func TestNativeWolfSSL13(t *testing.T) {
	for server, late := range map[string][]bool{"wolfssl13": {true}, "wolfssl-dual": {true, false}} {
		t.Run(server, func(t *testing.T) {
			p := newPlace(t)
			secrets, others := filepath.Join(t.TempDir(), "secrets"), filepath.Join(t.TempDir(), "others")
			write(t, secrets, p.secret())
			write(t, others, p.secret())
			s := startPeer(t, p.Middle, public[0], server, secrets)
			g := p.run(first("--handoff", "native-wolfssl", "--secret-file", secrets)...)
			for _, late := range late {
				if err := attempt(t, p.Lab, public[0], late); err != nil {
					t.Errorf("DTLS 1.3 %v: %v; the guard: %+v, sockets %v", late, err, g.status().XDP, g.status().Packets)
				}
			}
			g.reinjected(len(late))
			if n := s.clients(len(late)); n != len(late) {
				t.Errorf("%d clients at the server, want %d", n, len(late))
			}
			s.kill()
			startPeer(t, p.Middle, public[0], server, others)
			g.unready("secret")
			g.stop()
			p.free()
		})
	}
}

// A server that verifies the guard's cookies itself follows the guard to another secret.
func TestNativeHMACRotates(t *testing.T) {
	p := newPlace(t)
	secrets := filepath.Join(t.TempDir(), "secrets")
	first, second := p.secret(), p.secret()
	write(t, secrets, first)
	s := startExample(t, p.Middle, public[0], secrets)
	g := p.run(slices.Concat(inline()[:2], []string{"--handoff", "native-hmac", "--secret-file", secrets})...)
	before := g.status().Secrets[0].Fingerprint
	for i, lines := range []string{first, second + first, second} {
		write(t, secrets, lines)
		g.signal(syscall.SIGHUP)
		g.until("the secret in force", func() bool { return i == 0 || g.status().Secrets[0].Fingerprint != before })
		c := pion(t, p.Lab, public[0])
		c.ping("under a secret in force")
		c.close()
	}
	if n := s.clients(3); n != 3 {
		t.Errorf("%d clients, want 3", n)
	}
	g.stop()
}

// Formulas that only workers know are theirs under auto, and a refusal if the kernel is asked for by name.
func TestFormulaOfWorkers(t *testing.T) {
	p := newPlace(t)
	secrets := filepath.Join(t.TempDir(), "secrets")
	write(t, secrets, p.secret())
	startPeer(t, p.Middle, public[0], "wolfssl", secrets)
	args := first("--handoff", "native-wolfssl", "--secret-file", secrets)
	g := p.attach(append(args, "--answer", "xdp")...)
	g.unready("--answer xdp", "native-wolfssl", "leave --answer out")
	g.stop()
	p.free()
	g = p.run(args...)
	newAsker(t, p, public[0]).until(guardCookie, "from a worker")
	if v := g.status().XDP.Verdicts; v["answered"] > 0 || v["steered"] == 0 {
		t.Errorf("what became of ClientHellos: %v", v)
	}
	g.stop()
}

// Cookies of a server's own that are longer than the guard's are given by workers, and those that end after seconds are always
// young enough.
func TestLongCookies(t *testing.T) {
	p := newPlace(t)
	srv := startPeer(t, p.Server, behind[0], "openssl", "timed")
	g := p.attach(append(proxy()[:4], "--handoff", "auto", "--answer", "xdp")...)
	g.unready("--answer xdp", "harvest", "leave --answer out")
	g.stop()
	p.free()
	g = p.run(proxy()[:4]...)
	if h := g.status().Services[0].Backends[0]; h.Handoff != "harvest" || h.Profile.CookieLength != 40 {
		t.Fatalf("back end: %+v", h)
	}
	newFlooder(t, p).send(1000)
	t.Run("reach", func(t *testing.T) { // ends when all have
		reachBy(t, p.Lab, map[string]dialer{"openssl": openssl(), "pion": pion, "openssl-fragments": openssl("-mtu", "256")}, public[0])
	})
	if v := g.status().XDP.Verdicts; v["answered"] > 0 || v["steered"] == 0 {
		t.Errorf("what became of ClientHellos: %v", v)
	}
	if n := srv.clients(3); n != 3 {
		t.Errorf("%d clients, want 3", n)
	}
	g.stop()
}

// Servers that ask a verified client once more themselves, and those that must be asked first: the kernel gives the
// guard's cookies for them, and leaves to workers what a client says to the server's own.
func TestServersAskAgain(t *testing.T) {
	for _, c := range []struct{ server, cookies, handoff string }{
		{"mbedtls", "", "double-hvr"}, {"wolfssl", "", "double-hvr"}, {"openssl-accept", "trust", "replay"},
	} {
		t.Run(c.server, func(t *testing.T) {
			p := newPlace(t)
			for _, a := range behind {
				startPeer(t, p.Server, a, c.server, c.cookies)
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

// secret makes one, with the program.
func (p *place) secret() string {
	p.t.Helper()
	return output(p.t, p.Middle, program(), "secret", "generate")
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

// A guard that takes over from one that was killed has sockets of its own, and gives their cookies.
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
			g.end()
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
