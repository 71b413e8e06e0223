package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// radsecServer configures radsecproxy to accept requests over DTLS (RFC 7360) and to answer them itself.
const radsecServer = `ListenDTLS %[1]v
client guard {
	host %[2]v
	type dtls
	secret radius/dtls
	certificatenamecheck off
}
realm * {
	replymessage "access is denied"
}
`

// radsecClient accepts requests over UDP and forwards them over DTLS.
const radsecClient = `ListenUDP 127.0.0.1:%[1]d
client 127.0.0.1 {
	type udp
	secret radclient
}
server behind {
	host %[2]v
	port %[3]d
	type dtls
	secret radius/dtls
	certificatenamecheck off
}
realm * {
	server behind
}
`

// radsecHost formats an address for radsecproxy: IPv6 in brackets, even without a port.
func radsecHost(a netip.AddrPort) string {
	return strings.TrimSuffix(a.String(), fmt.Sprintf(":%d", a.Port()))
}

// startRadsecproxy starts it with a configuration, and the certificate of all tests.
func startRadsecproxy(t *testing.T, configuration string) *program {
	t.Helper()
	cert, key := certFiles(t)
	configuration = fmt.Sprintf("tls default {\n\tCACertificateFile %[1]s\n\tCertificateFile %[1]s\n\tCertificateKeyFile %[2]s\n}\n", cert, key) + configuration
	file := filepath.Join(t.TempDir(), "radsecproxy.conf")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "", "radsecproxy", "-f", "-c", file)
}

// radsecServes starts radsecproxy as a server that rejects all users.
func radsecServes(t *testing.T, addr netip.AddrPort, _ string) *server {
	t.Helper()
	p := startRadsecproxy(t, fmt.Sprintf(radsecServer, addr, radsecHost(addr)))
	awaitListener(t, p, addr)
	return &server{program: p, addr: addr}
}

// radsecAssociation is a radsecproxy connected to a server.
type radsecAssociation struct {
	*program
	udp netip.AddrPort
}

func radsec(t *testing.T, addr netip.AddrPort) association {
	t.Helper()
	udp := address("127.0.0.1", freePort(t))
	p := startRadsecproxy(t, fmt.Sprintf(radsecClient, udp.Port(), radsecHost(addr), addr.Port()))
	awaitListener(t, p, udp)
	return &radsecAssociation{p, udp}
}

// exchange requests access for a user until answer comes.
func (c *radsecAssociation) exchange(user, answer string) {
	c.t.Helper()
	need(c.t, "radclient")
	var out []byte
	for end := time.Now().Add(patience); time.Now().Before(end); {
		cmd := exec.CommandContext(c.t.Context(), "radclient", "-x", "-r", "1", "-t", "2", c.udp.String(), "auth", "radclient")
		cmd.Stdin = strings.NewReader(fmt.Sprintf("User-Name = %q, User-Password = \"secret\"\n", user))
		out, _ = cmd.CombinedOutput() // its exit status is that of the rejection
		if strings.Contains(string(out), answer) {
			return
		}
	}
	c.t.Fatalf("radclient did not get %q:\n%s", answer, out)
}

// rejected is a row's talk with such a server.
func rejected(number int) (user, answer string) {
	return fmt.Sprintf("user%d", number), "access is denied"
}

func (c *radsecAssociation) close() { c.stop() }
