package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// writeSecrets replaces the secret file name by renaming, as the documentation tells operators to.
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

// TestNativeModes: each client reaches servers that share their cookie secret with the guard, over both address
// families; the server gets one ClientHello from each, and accepts it.
func TestNativeModes(t *testing.T) {
	t.Parallel()
	clients := map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()}
	for kind, name := range map[handoff.Mode]string{
		handoff.NativeQt: "qt", handoff.NativeWolfSSL: "wolfssl", handoff.NativeGnuTLS: "gnutls",
	} {
		for _, host := range hosts {
			t.Run(name+"/"+host, func(t *testing.T) {
				t.Parallel()
				secrets := secretFile(t, cookie.Secret{1, 2, 3}, cookie.Secret{4, 5, 6})
				s := startPeer(t, address(host, freePort(t)), name, secrets)
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
