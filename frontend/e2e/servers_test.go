package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// shared is a directory for what is made once for all tests.
var shared string

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests wait for retransmission timers, not for the CPU.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	var err error
	if shared, err = os.MkdirTemp("", "dtlsguard-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

// certificate makes a throw-away one and returns its files.
var certificate = sync.OnceValues(func() (files [2]string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return files, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	files = [2]string{filepath.Join(shared, "cert.pem"), filepath.Join(shared, "key.pem")}
	for i, b := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(files[i], pem.EncodeToMemory(b), 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
})

func certFiles(t *testing.T) (cert, key string) {
	t.Helper()
	files, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	return files[0], files[1]
}

// server is a DTLS server that echoes lines which begin with "ping".
type server struct {
	*program
	addr   netip.AddrPort
	closed string // what it says when a client has closed; "" where it says nothing
}

// opensslServer starts an unmodified openssl s_server. It serves one client and is then good for no other:
// its socket stays connected to that client's address.
func opensslServer(t *testing.T, addr netip.AddrPort, args ...string) *server {
	t.Helper()
	cert, key := certFiles(t)
	if len(args) == 0 {
		args = []string{"-dtls1_2"}
	}
	args = append([]string{"s_server", "-listen", "-accept", addr.String(), "-cert", cert, "-key", key}, args...)
	p := start(t, "ping", "openssl", args...)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr, closed: "DONE"}
}

// gnutlsServer starts an unmodified gnutls-serv: one client at a time, any number one after the other.
func gnutlsServer(t *testing.T, addr netip.AddrPort, args ...string) *server {
	t.Helper()
	cert, key := certFiles(t)
	args = append([]string{"--udp", "--echo", "--port", strconv.Itoa(int(addr.Port())), "--x509certfile", cert, "--x509keyfile", key}, args...)
	p := start(t, "", "gnutls-serv", args...)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr}
}

// echoBinary compiles the server in testdata.
var echoBinary = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(shared, "echo_server")
	out, err := exec.Command("cc", "-Wall", "-O1", "-o", binary, filepath.Join("testdata", "echo_server.c"), "-lssl", "-lcrypto", "-lpthread").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile the echo server (its headers: apt-get install libssl-dev): %w\n%s", err, out)
	}
	return binary, nil
})

// echoServer starts the server in testdata, which serves any number of clients at a time. Its cookies are for
// the mode harvest or trust.
func echoServer(t *testing.T, addr netip.AddrPort, mode string) *server {
	t.Helper()
	need(t, "cc")
	binary, err := echoBinary()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cert, key := certFiles(t)
	p := start(t, "", binary, addr.Addr().String(), strconv.Itoa(int(addr.Port())), cert, key, mode)
	awaitServer(t, p, addr)
	return &server{program: p, addr: addr, closed: "closed"}
}

// awaitServer waits until the server behind p asks for a cookie.
func awaitServer(t *testing.T, p *program, addr netip.AddrPort) {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	question := (&hello.Probe{}).Append(nil)
	answer := make([]byte, 512)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-p.exited:
			t.Fatalf("%s ended as soon as it was started", p.name)
		default:
		}
		_, _ = conn.Write(question) // refused until it listens
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		began := time.Now()
		if n, err := conn.Read(answer); err == nil {
			if _, ok := hello.HelloVerifyCookie(answer[:n]); ok {
				return
			}
		}
		time.Sleep(50*time.Millisecond - time.Since(began)) // a refusal comes at once
	}
	t.Fatalf("%s does not ask for a cookie on %v", p.name, addr)
}
