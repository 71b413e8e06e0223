package peers

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// TestRepeatedHello: a ClientHello that a client repeats because the server is slow begins one handshake, not two whose flights
// mix at the client.
func TestRepeatedHello(t *testing.T) {
	t.Parallel()
	id, err := NewIdentity(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"openssl", "openssl-accept", "gnutls", "mbedtls", "wolfssl"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary, err := Find(name).Build(t.TempDir())
			if err != nil && os.Getenv("CI") != "true" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			randoms := repeatHello(t, binary, id)
			for _, r := range randoms[1:] {
				if !bytes.Equal(r, randoms[0]) {
					t.Fatalf("the server began %x and %x", randoms[0], r)
				}
			}
		})
	}
}

// repeatHello has a server find the same ClientHello three times, and returns the randoms of its ServerHellos.
func repeatHello(t *testing.T, program string, id Identity) (randoms [][]byte) {
	t.Helper()
	port := int(await.FreePort(t))
	cmd := exec.Command(program, Arguments(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), id, "")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	ask(t, port, (&hello.Probe{}).Append(nil)) // from another port, until it listens
	conn, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	q, d := &hello.Probe{}, make([]byte, 2048)
	_, _ = conn.Write(q.Append(nil))
	_ = conn.SetReadDeadline(time.Now().Add(await.Patience))
	n, err := conn.Read(d)
	if err != nil {
		t.Fatal(err)
	}
	cookie, ok := hello.HelloVerifyCookie(d[:n])
	if !ok {
		t.Fatalf("%x is not a HelloVerifyRequest", d[:n])
	}
	q.Cookie, q.MessageSeq = bytes.Clone(cookie), 1
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	for q.RecordSeq = 1; q.RecordSeq <= 3; q.RecordSeq++ {
		_, _ = conn.Write(q.Append(nil))
	}
	_ = cmd.Process.Signal(syscall.SIGCONT)
	for wait := await.Patience; ; wait = time.Second / 2 { // a server repeats its flight after a second
		_ = conn.SetReadDeadline(time.Now().Add(wait))
		n, err := conn.Read(d)
		if err != nil {
			break
		}
		const record, handshake, version, random = 13, 12, 2, 32
		if at := record + handshake + version; n >= at+random && d[0] == 22 && d[record] == 2 {
			randoms = append(randoms, bytes.Clone(d[at:at+random]))
		}
	}
	if len(randoms) == 0 {
		t.Fatal("no ServerHello")
	}
	return randoms
}
