package e2e

import (
	"context"
	"crypto/rand"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/examples"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// exampleFiles caches the built programs of examples.
var exampleFiles = sync.OnceValues(func() (string, error) { return shared, examples.Build(shared) })

func example(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(built(t)(exampleFiles()), name)
}

// opensslExample starts the example that verifies the guard's cookies in OpenSSL's callbacks.
func opensslExample(t *testing.T, addr netip.AddrPort, secrets string) *server {
	t.Helper()
	cert, key := certFiles(t)
	p := start(t, "", example(t, examples.OpenSSL), addr.Addr().String(), strconv.Itoa(int(addr.Port())), cert, key, secrets)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr, closed: "closed"}
}

// gateExample starts the example that verifies the guard's cookies in Go, in front of a server that accepts any cookie.
func gateExample(t *testing.T, addr netip.AddrPort, secrets string) *server {
	t.Helper()
	behind := echoServer(t, netip.AddrPortFrom(addr.Addr(), freePort(t)), "trust")
	p := start(t, "", example(t, examples.Gate), "-listen", addr.String(), "-server", behind.addr.String(), "-secret-file", secrets)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr}
}

func drawSecret(t *testing.T) cookie.Secret {
	t.Helper()
	s, err := cookie.NewSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var exampleServers = map[string]func(*testing.T, netip.AddrPort, string) *server{"openssl": opensslExample, "gate": gateExample}

// TestExamples: clients reach servers that verify the guard's cookies themselves; a guard with another secret does not
// start.
func TestExamples(t *testing.T) {
	t.Parallel()
	clients := map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()}
	for name, serve := range exampleServers {
		for _, host := range hosts {
			t.Run(name+"/"+host, func(t *testing.T) {
				t.Parallel()
				secrets := secretFile(t, drawSecret(t))
				s := serve(t, address(host, freePort(t)), secrets)
				native := func(c *frontend.Config) { c.Handoff, c.SecretFile = handoff.NativeHMAC, secrets }
				g := startGuard(t, s.addr, native)
				for client, dial := range clients {
					c := dial(t, g.addr)
					c.ping("ping of " + client)
					c.close()
				}
				if s.closed != "" {
					s.expect(s.closed)
				}
				if n := g.count(metrics.ServerVerify); n != 0 {
					t.Errorf("the server sent %d HelloVerifyRequests to verified clients", n)
				}
				g.stop()
				c := frontend.Config{Services: []frontend.Service{{Listen: address(host, 0), Backends: frontend.At(s.addr)}}, Settings: frontend.Settings{HarvestPool: 16}}
				c.Handoff, c.SecretFile = handoff.NativeHMAC, secretFile(t, drawSecret(t))
				if why := refusal(t, c); !strings.Contains(why, "not what native-hmac computes") {
					t.Errorf("a guard with another secret says %q", why)
				}
			})
		}
	}
}

// TestSharedSecretRotates: the secret file is replaced while clients connect, and none of them fails.
func TestSharedSecretRotates(t *testing.T) {
	t.Parallel()
	const rotations, atOnce = 4, 3
	for name, serve := range exampleServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := drawSecret(t)
			secrets := secretFile(t, now)
			s := serve(t, address("127.0.0.1", freePort(t)), secrets)
			g := startGuard(t, s.addr, func(c *frontend.Config) {
				// Ports of closed clients stay reserved for a while: more ports than clients, so that none has to
				// use a port that was free at its first ClientHello and is taken at its second.
				c.Handoff, c.SecretFile, c.HarvestPool = handoff.NativeHMAC, secrets, handoff.DefaultPool
			})
			ctx, stop := context.WithCancel(t.Context())
			var served [atOnce]atomic.Int64 // clients of each row
			var rows sync.WaitGroup
			for i := range served {
				rows.Go(func() {
					for ctx.Err() == nil {
						c, err := dialPion(t, g.addr, patience)
						if err != nil {
							t.Errorf("client after %d others: %v", served[i].Load(), err)
							stop()
							return
						}
						c.ping("ping")
						c.close()
						served[i].Add(1)
					}
				})
			}
			for range rotations {
				next := drawSecret(t)
				for next.SharedKeyID() == now.SharedKeyID() { // the same key ID, one time in 256, would be refused
					next = drawSecret(t)
				}
				writeSecrets(t, secrets, next, now)
				now = next
				eventually(t, "the guard has the new secret", func() bool { return g.Status().Secrets[0].Fingerprint == now.Fingerprint() })
				// A client delayed over two rotations must start anew: let all clients finish that started before this rotation.
				for i := range served {
					n := served[i].Load() + 2
					eventually(t, "clients connect under the new secret", func() bool { return ctx.Err() != nil || served[i].Load() >= n })
				}
			}
			stop()
			rows.Wait()
			if server, guard := g.count(metrics.ServerVerify), g.count(metrics.WrongCookie); server+guard != 0 {
				t.Errorf("the server refused %d cookies and the guard %d", server, guard)
			}
		})
	}
}
