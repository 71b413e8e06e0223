package e2e

import (
	"path/filepath"
	"testing"

	"github.com/pion/dtls/v3"
)

// TestResumption: a client resumes its session, and the server recognises it, although the
// guard gives it another port. OpenSSL resumes by ticket, Pion by session ID, GnuTLS by either.
func TestResumption(t *testing.T) {
	t.Parallel()
	echo := func(mode string) func(*testing.T, string) *server {
		return func(t *testing.T, host string) *server { return echoServer(t, address(host, freePort(t)), mode) }
	}
	gnutlsServ := func(t *testing.T, host string) *server { return gnutlsServer(t, address(host, freePort(t))) }
	for name, start := range map[string]func(*testing.T, string) *server{
		"harvest": echo("harvest"), "trust": echo("trust"), "gnutls-serv": gnutlsServ,
	} {
		for _, host := range hosts {
			t.Run("openssl/"+name+"/"+host, func(t *testing.T) {
				t.Parallel()
				g := startGuard(t, start(t, host).addr)
				file := filepath.Join(t.TempDir(), "session")
				first := dialOpenSSL(t, g.addr, "-dtls1_2", "-sess_out", file)
				first.expect("\nNew, ")
				first.ping("ping first")
				first.close()
				again := dialOpenSSL(t, g.addr, "-dtls1_2", "-sess_in", file)
				again.expect("\nReused, ")
				again.ping("ping again")
				again.close()
			})
		}
	}
	t.Run("gnutls", func(t *testing.T) {
		t.Parallel()
		g := startGuard(t, gnutlsServ(t, "127.0.0.1").addr)
		// --resume connects twice, the second time for the user's input.
		c := gnutls("--resume")(t, g.addr).(*gnutlsClient)
		c.expect("This is a resumed session")
		c.ping("ping again")
		c.close()
	})
	t.Run("pion", func(t *testing.T) {
		t.Parallel()
		s := echoServer(t, address("::1", freePort(t)), "harvest")
		g := startGuard(t, s.addr)
		var store sessions
		dial := pion(dtls.WithSessionStore(&store), dtls.WithServerName("localhost"))
		for _, text := range []string{"ping first", "ping again"} {
			c := dial(t, g.addr)
			c.ping(text)
			c.close()
		}
		s.expect("accepted again")
	})
}
