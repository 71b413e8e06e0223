package e2e

import (
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// TestClientsAndServers is the main test: each client reaches each server through the guard, over both address
// families, exchanges data in both directions and closes.
func TestClientsAndServers(t *testing.T) {
	t.Parallel()
	clients := map[string]dialer{
		"openssl": openssl(), "openssl-1.0": openssl(dtls10...), "gnutls": gnutls(), "pion": pion(),
	}
	servers := []struct {
		name    string
		start   func(t *testing.T, addr netip.AddrPort, args ...string) *server
		args    []string
		clients []string
	}{
		{"s_server", opensslServer, nil, []string{"openssl", "gnutls", "pion"}},
		{"s_server-1.0", opensslServer, dtls10, []string{"openssl-1.0"}},
		{"gnutls-serv", gnutlsServer, nil, []string{"openssl", "gnutls", "pion"}},
		{"gnutls-serv-1.0", gnutlsServer, []string{"--priority", "NORMAL:+VERS-DTLS1.0:%COMPAT"}, []string{"openssl-1.0"}},
	}
	for _, s := range servers {
		for _, c := range s.clients {
			for _, host := range hosts {
				t.Run(s.name+"/"+c+"/"+host, func(t *testing.T) {
					t.Parallel()
					converse(t, s.start(t, address(host, freePort(t)), s.args...), clients[c])
				})
			}
		}
	}
}

// converse runs a client against server s through a guard.
func converse(t *testing.T, s *server, dial dialer) {
	g := startGuard(t, s.addr)
	if mode := g.Status().Services[0].Backends[0].Handoff; mode != "harvest" {
		t.Errorf("hand-off %s for an unmodified server, want harvest", mode)
	}
	c := dial(t, g.addr)
	c.ping("ping one")
	c.ping("ping two")
	if n := g.count(metrics.Verified); n != 1 {
		t.Errorf("%d verified ClientHellos, want 1", n)
	}
	c.close()
	if s.closed != "" {
		s.expect(s.closed)
	}
	if n := g.count(metrics.ServerVerify); n != 0 {
		t.Errorf("the server sent %d HelloVerifyRequests to the verified client", n)
	}
}
