package e2e

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// shared is a directory for files that all tests share.
var shared string

func TestMain(m *testing.M) {
	if how := os.Getenv(successorEnv); how != "" {
		playSuccessor(how)
	}
	flag.Parse()
	// The tests wait for retransmission timers, not for the CPU; runtimes need it to start.
	atOnce := "20"
	if *foreign {
		atOnce = "4"
	}
	if err := flag.Set("test.parallel", atOnce); err != nil {
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
	closed string // what it prints when a client has closed; "" if nothing
}

// Command lines of unmodified server programs, as an operator writes them, for port 4434.
const (
	// opensslListens serves one client only: its socket stays connected to that client's address.
	opensslListens = "openssl s_server -dtls1_2 -listen -accept 127.0.0.1:4434 -cert cert.pem -key key.pem"
	// opensslAccepts serves one client at a time.
	opensslAccepts = "openssl s_server -dtls1_2 -accept 127.0.0.1:4434 -cert cert.pem -key key.pem"
	// gnutlsServ serves one client at a time, any number one after the other.
	gnutlsServ = "gnutls-serv --udp --echo --port 4434 --x509certfile cert.pem --x509keyfile key.pem"
	// coapServer listens for DTLS on the port above the given one.
	coapServer = "coap-server-%s -A 127.0.0.1 -p 4433 -d 10 -h coap -k " + coapKey
	// socatEchoes serves one client at a time.
	socatEchoes = "socat OPENSSL-DTLS-SERVER:4434,bind=127.0.0.1,cert=cert.pem,key=key.pem,verify=0,reuseaddr,fork PIPE"
	coturn      = "turnserver -n -L 127.0.0.1 -E 127.0.0.1 -p 3478 --tls-listening-port 4434 --cert cert.pem --pkey key.pem " +
		"--no-tls --no-tcp --no-cli --no-auth --log-file stdout --pidfile turn.pid --db turn.db"
)

// recipe starts a server program with a command line whose addresses, ports and files are those of the test.
func recipe(t *testing.T, line string, addr netip.AddrPort) *server {
	t.Helper()
	cert, key := certFiles(t)
	dir, host, port := t.TempDir(), addr.Addr().String(), int(addr.Port())
	mine := map[string]string{
		"127.0.0.1:4434": addr.String(), "127.0.0.1": host, "4434": strconv.Itoa(port), "4433": strconv.Itoa(port - 1),
		"3478": strconv.Itoa(int(freePort(t))), "cert.pem": cert, "key.pem": key,
		"turn.pid": filepath.Join(dir, "pid"), "turn.db": filepath.Join(dir, "db"),
	}
	args := strings.Fields(line)
	for i, a := range args {
		if my, ok := mine[a]; ok {
			args[i] = my
		}
		if args[0] == "socat" { // its addresses contain commas
			args[i] = strings.NewReplacer("4434", strconv.Itoa(port), "127.0.0.1", host, "cert.pem", cert, "key.pem", key).Replace(a)
		}
	}
	s := &server{addr: addr}
	echo := ""
	if args[0] == "openssl" { // it prints what it receives and sends what it reads
		echo, s.closed = "ping", "DONE"
	}
	s.program = start(t, echo, args[0], args[1:]...)
	awaitListener(t, s.program, addr)
	return s
}

// opensslServer starts the unmodified openssl s_server -listen.
func opensslServer(t *testing.T, addr netip.AddrPort, more ...string) *server {
	t.Helper()
	line := opensslListens
	if len(more) > 0 {
		line = strings.Replace(line, "-dtls1_2", strings.Join(more, " "), 1)
	}
	return recipe(t, line, addr)
}

// gnutlsServer starts the unmodified gnutls-serv.
func gnutlsServer(t *testing.T, addr netip.AddrPort, more ...string) *server {
	t.Helper()
	return recipe(t, gnutlsServ+" "+strings.Join(more, " "), addr)
}

// echoServer starts a server that serves any number of clients at a time. Its cookies are for the mode harvest, trust or
// replay.
func echoServer(t *testing.T, addr netip.AddrPort, mode string) *server {
	t.Helper()
	if mode == "replay" {
		return startPeer(t, addr, "openssl-accept", "trust")
	}
	return startPeer(t, addr, "openssl", map[string]string{"harvest": "", "trust": "trust"}[mode])
}

// awaitServer waits until the server at p asks for a cookie.
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
