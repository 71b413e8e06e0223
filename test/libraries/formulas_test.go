package libraries

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// vectors is the file of cookies that the unit tests of handoff check against.
var (
	vectors = filepath.Join("..", "..", "frontend", "handoff", "testdata", "native.txt")
	update  = flag.Bool("update", false, "write the cookies of real servers to  "+vectors)
)

const vectorSecret = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

// library is a server whose cookie formula is checked.
type library struct {
	mode   handoff.Mode
	server string // in bench/testkit/peers
	module string // the name for pkg-config
}

var libraries = []library{{handoff.NativeQt, "qt", "Qt6Network"}, {handoff.NativeWolfSSL, "wolfssl", "wolfssl"}, {handoff.NativeGnuTLS, "gnutls", "gnutls"}}

// computed is the cookie that the guard issues in that mode for datagram d.
func computed(t *testing.T, mode handoff.Mode, mapped bool, from netip.AddrPort, d []byte) []byte {
	t.Helper()
	secret, err := cookie.ParseSecret(vectorSecret)
	if err != nil {
		t.Fatal(err)
	}
	var h handoff.Hello
	if r := hello.Parse(d, &h.ClientHello); r != hello.OK {
		t.Fatalf("%x: %v", d, r)
	}
	h.Binding = cookie.Binding{Source: from.Addr().As16(), SourcePort: from.Port(), Version: h.Version, Random: h.Random}
	all := []handoff.Hello{h}
	v := handoff.NewInline(handoff.Fit{Mode: mode, Mapped: mapped}, handoff.Config{Cookies: cookie.Measured()}, 1)
	v.Verify(cookie.NewKeyring(secret, 0), all)
	return all[0].Answer[:all[0].Length]
}

// TestFormulas compares the formulas with the libraries of this machine.
func TestFormulas(t *testing.T) {
	dir := t.TempDir()
	id, err := peers.NewIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(vectorSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBufferString("# Cookies of real servers (bench/testkit/peers) under the secret 000102..1f: mode, library, whether the server's\n" +
		"# socket is of IPv6 and sees IPv4 v4-mapped, sender, ClientHello, cookie. Made by\n" +
		"# go test ./test/libraries -run TestFormulas -update\n")
	for _, l := range libraries {
		t.Run(l.server, func(t *testing.T) {
			binary, err := peers.Find(l.server).Build(t.TempDir())
			if err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			version, err := exec.Command("pkg-config", "--modversion", l.module).Output()
			if err != nil {
				t.Fatalf("pkg-config --modversion %s: %v", l.module, err)
			}
			l.server += "-" + strings.TrimSpace(string(version))
			for _, at := range []struct{ listen, to, from string }{
				{"127.0.0.1", "127.0.0.1", "127.9.8.7"}, {"::1", "::1", "::1"}, {"::", "127.0.0.1", "127.9.8.7"},
			} {
				if l.mode == handoff.NativeQt && at.listen == "::" {
					continue // Qt's socket is IPv6 only
				}
				l.ask(t, binary, peers.Arguments(netip.AddrPortFrom(netip.MustParseAddr(at.listen), await.FreePort(t)), id, secret), at.to, at.from, out)
			}
		})
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(vectors, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// ask starts a server and sends it each captured ClientHello of real clients from one address.
func (l library) ask(t *testing.T, binary string, args []string, to, from string, out *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	server := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(net.JoinHostPort(to, args[1])))
	mapped := args[0] == "::"
	asked, wait := 0, 20*time.Second // the server is just starting
	for _, c := range hellotest.Captured() {
		if !strings.HasSuffix(c.Name, ":1") || strings.Contains(c.Name, "dtls10") || strings.Contains(c.Name, "frag") {
			continue // wolfSSL has no DTLS 1.0, and no answer before the last fragment
		}
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, server)
		if err != nil {
			t.Fatal(err)
		}
		got := cookieOf(conn, c.Datagram, wait)
		wait = 200 * time.Millisecond
		_ = conn.Close()
		if got == nil {
			continue // the server refuses what the client offers
		}
		asked++
		sender := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		if want := computed(t, l.mode, mapped, sender, c.Datagram); !bytes.Equal(got, want) {
			t.Errorf("%s on %s, %s from %v: the server issues %x, the formula %x", l.server, args[0], c.Name, sender, got, want)
		}
		fmt.Fprintf(out, "%v %s %v %v %x %x\n", l.mode, l.server, mapped, sender, c.Datagram, got)
	}
	if asked < 4 {
		t.Errorf("%s on %s answered %d ClientHellos", l.server, args[0], asked)
	}
}

// cookieOf asks a server until it answers or patience ends.
func cookieOf(conn *net.UDPConn, d []byte, patience time.Duration) []byte {
	answer := make([]byte, 512)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		_, _ = conn.Write(d)
		again := time.Now().Add(50 * time.Millisecond)
		_ = conn.SetReadDeadline(again)
		n, err := conn.Read(answer)
		if c, ok := hello.HelloVerifyCookie(answer[:n]); err == nil && ok {
			return c
		}
		if err == nil {
			return nil
		}
		time.Sleep(time.Until(again)) // a refusal comes at once
	}
	return nil
}
