package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// ocservConfig configures a VPN gateway on TCP and UDP port 4433 with user passwords.
const ocservConfig = `auth = "plain[passwd=%[1]s/users]"
listen-host = %[2]s
tcp-port = 4433
udp-port = 4433
run-as-user = root
run-as-group = root
socket-file = %[1]s/socket
server-cert = %[3]s
server-key = %[4]s
isolate-workers = false
max-clients = 16
max-same-clients = 16
keepalive = 60
dpd = 60
try-mtu-discovery = false
device = vpns
ipv4-network = 198.19.0.0
ipv4-netmask = 255.255.255.0
cisco-client-compat = true
dtls-legacy = true
pid-file = %[1]s/pid
`

// TestTrustTCP: clients of a VPN gateway do a TCP handshake first, so their DTLS is let in without a cookie, and none of a flood
// reaches the gateway's UDP socket.
func TestTrustTCP(t *testing.T) {
	need(t, "ocserv", "ocpasswd", "openconnect")
	p := newPlace(t)
	dir := t.TempDir()
	id := certFiles(t)
	users := exec.Command("ocpasswd", "-c", filepath.Join(dir, "users"), "me")
	users.Stdin = strings.NewReader("secret\nsecret\n")
	if out, err := users.CombinedOutput(); err != nil {
		t.Fatalf("ocpasswd: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "ocserv.conf")
	text := fmt.Sprintf(ocservConfig, dir, lab.Middle4, id.Certificate, id.Key)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{tap: openTap(t, p.Middle, servicePort)}
	s.process = start(t, p.Middle, "ocserv", "-f", "-c", config)
	s.Until("it listens", func() bool { return strings.Contains(output(t, p.Middle, "ss", "-Hltn", "sport", "= :4433"), ":4433") })
	g := p.run(first("--answer", "xdp", "--unverified", "drop", "--handoff", "reset", "--trust-tcp", "4433")...)
	f := newFlooder(t, p)
	s.tap.look()
	before := s.tap.flood
	g.Until("the flood is answered", func() bool {
		for i := range 200 {
			if err := sendFrame(f, f.packet(0, f.datagram(i))); err != nil {
				t.Fatal(err)
			}
		}
		return g.status().XDP.Verdicts["answered"] >= 500
	})
	c := startCmd(t, p.Client, exec.Command("openconnect", "--protocol=anyconnect", "--user=me", "--passwd-on-stdin", "--non-inter",
		"--servercert", pin(t, id.Certificate), "--script=/bin/true", "--interface=vpnc0", "https://"+public[0].String()))
	c.Say("secret")
	c.Until("DTLS is up", func() bool { return strings.Contains(c.Text(), "Established DTLS connection") })
	s.tap.look()
	if n := s.tap.flood - before; n > 0 {
		t.Errorf("%d datagrams of the flood at the gateway", n)
	}
	v := g.status().XDP.Verdicts
	if v["pass-address"] == 0 || v["reset"] > 0 {
		t.Errorf("verdicts %v: the client was challenged", v)
	}
	g.stop()
}

// pin is the certificate's pin for openconnect.
func pin(t *testing.T, file string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "openssl x509 -in "+file+" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl enc -base64").Output()
	if err != nil {
		t.Fatal(err)
	}
	return "pin-sha256:" + strings.TrimSpace(string(out))
}
