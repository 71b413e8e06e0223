package e2e

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/peers"
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
	builds.Dir = shared
	code := m.Run()
	os.RemoveAll(shared)
	os.Exit(code)
}

// identity makes the servers' certificate and key, once for all tests.
var identity = sync.OnceValues(func() (peers.Identity, error) { return peers.NewIdentity(shared) })

func certFiles(t *testing.T) (cert, key string) {
	t.Helper()
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	return id.Certificate, id.Key
}

// server is a DTLS server that echoes lines which begin with "ping".
type server struct {
	*program
	addr   netip.AddrPort
	closed string // what it says when a client has closed; "" where it says nothing
}

// opensslServer starts an unmodified openssl s_server. With -listen it serves one client and is then good for no other:
// its socket stays connected to that client's address.
func opensslServer(t *testing.T, addr netip.AddrPort, args ...string) *server {
	t.Helper()
	return opensslProgram(t, addr, append([]string{"-listen"}, args...)...)
}

func opensslProgram(t *testing.T, addr netip.AddrPort, args ...string) *server {
	t.Helper()
	cert, key := certFiles(t)
	if !slices.Contains(args, "-dtls1") {
		args = append(args, "-dtls1_2")
	}
	args = append([]string{"s_server", "-accept", addr.String(), "-cert", cert, "-key", key}, args...)
	p := start(t, "ping", "openssl", args...)
	awaitListener(t, p, addr)
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

// echoServer starts a server that serves any number of clients at a time. Its cookies are for the mode harvest or trust.
func echoServer(t *testing.T, addr netip.AddrPort, mode string) *server {
	t.Helper()
	return startPeer(t, addr, "openssl", map[string]string{"harvest": "", "trust": "trust"}[mode])
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
