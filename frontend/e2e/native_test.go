package e2e

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/peers"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// secretFile writes a secret file.
func secretFile(t *testing.T, secrets ...cookie.Secret) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secrets")
	writeSecrets(t, name, secrets...)
	return name
}

// writeSecrets puts a new secret file in the place of name, as an operator is told to: by renaming.
func writeSecrets(t *testing.T, name string, secrets ...cookie.Secret) {
	t.Helper()
	var lines strings.Builder
	for i := range secrets {
		lines.WriteString(secrets[i].Hex() + "\n")
	}
	if err := os.WriteFile(name+".new", []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// builtPeers has a function for each of bench/peers' programs that builds it once.
var builtPeers sync.Map

// peerServer starts one of the servers of bench/peers, with the cookies of a secret file.
func peerServer(t *testing.T, name string, addr netip.AddrPort, cookies string) *server {
	t.Helper()
	build, _ := builtPeers.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp(shared, name)
		if err != nil {
			return "", err
		}
		return peers.Find(name).Build(dir)
	}))
	binary, err := build.(func() (string, error))()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cert, key := certFiles(t)
	p := start(t, "", binary, peers.Arguments(addr, peers.Identity{Certificate: cert, Key: key}, cookies)...)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr, closed: "closed"}
}

// TestNativeModes: each client reaches servers that share their cookies' secret with the guard, over both address
// families; the server gets one ClientHello from each, and takes it.
func TestNativeModes(t *testing.T) {
	t.Parallel()
	clients := map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()}
	for kind, name := range map[handoff.Kind]string{
		handoff.NativeQt: "qt", handoff.NativeWolfSSL: "wolfssl", handoff.NativeGnuTLS: "gnutls",
	} {
		for _, host := range hosts {
			t.Run(name+"/"+host, func(t *testing.T) {
				t.Parallel()
				secrets := secretFile(t, cookie.Secret{1, 2, 3}, cookie.Secret{4, 5, 6})
				s := peerServer(t, name, address(host, freePort(t)), secrets)
				g := startGuard(t, s.addr, func(c *frontend.Config) { c.Handoff, c.SecretFile = kind, secrets })
				for client, dial := range clients {
					c := dial(t, g.addr)
					c.ping("ping of " + client)
					c.close()
				}
				if n := g.count(metrics.Verified); n != uint64(len(clients)) {
					t.Errorf("%d verified ClientHellos, want %d", n, len(clients))
				}
				if n := g.count(metrics.ServerVerify); n != 0 {
					t.Errorf("the server sent %d HelloVerifyRequests to verified clients", n)
				}
			})
		}
	}
}
