package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// nativeServers start servers that share the secret in a file, by mode; the first two are
// those of examples. kernel: XDP can make their cookies. wolfSSL 5.5 accepts no ClientHello in fragments.
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

// Servers that compute the guard's cookies, or whose cookies the guard computes, accept inline clients, whoever
// answers.
func TestNative(t *testing.T) {
	for name, n := range nativeServers {
		ways := map[string][]string{"auto": nil, "workers": {"--answer", "workers"}}
		if !n.kernel { // TestFormulaOfWorkers has the refusal of --answer xdp
			ways["generic"] = []string{"--xdp-mode", "generic"} // the programs see again what a worker reinjects
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

// reinjected checks that workers answered n clients or more, verified them, and reinjected their ClientHellos.
func (g *guard) reinjected(n int) {
	g.t.Helper()
	x := g.status().XDP
	if v := x.Verdicts; v["steered"] < uint64(2*n) || v["answered"] > 0 || x.Egress["reinjected"] < uint64(n) || v["pass-flow"] < uint64(n) {
		g.t.Errorf("%d clients, verdicts %v, at egress %v", n, v, x.Egress)
	}
}

// For an inline wolfSSL server of DTLS 1.3 the guard's workers make the HelloRetryRequests. When it is replaced by a server
// with another secret, the guard notices before a client does, and reports it.
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
			s.Kill()
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
		g.Until("the secret in force", func() bool { return i == 0 || g.status().Secrets[0].Fingerprint != before })
		c := pion(t, p.Lab, public[0])
		c.ping("under a secret in force")
		c.close()
	}
	if n := s.clients(3); n != 3 {
		t.Errorf("%d clients, want 3", n)
	}
	g.stop()
}

// Under auto, workers answer with formulas that only they know; with --answer xdp the guard refuses them.
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
		t.Errorf("verdicts of ClientHellos: %v", v)
	}
	g.stop()
}

// A server's own cookies that are longer than the guard's are issued by workers, and those that expire after seconds are always
// fresh enough.
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
	t.Run("reach", func(t *testing.T) { // returns when all have ended
		reachBy(t, p.Lab, map[string]dialer{"openssl": openssl(), "pion": pion, "openssl-fragments": openssl("-mtu", "256")}, public[0])
	})
	if v := g.status().XDP.Verdicts; v["answered"] > 0 || v["steered"] == 0 {
		t.Errorf("verdicts of ClientHellos: %v", v)
	}
	if n := srv.clients(3); n != 3 {
		t.Errorf("%d clients, want 3", n)
	}
	g.stop()
}

// Servers that send a verified client their own HelloVerifyRequest (double-hvr), and those that must be asked first (replay): the kernel issues the
// guard's cookies for them, and leaves ClientHellos with the server's cookie to workers.
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
				t.Errorf("six clients, verdicts %v", v)
			}
			g.stop()
		})
	}
}

// secret makes a secret with the program.
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
