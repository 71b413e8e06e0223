package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/examples"
)

// identity makes the servers' certificate and key, once for all tests.
var identity = sync.OnceValues(func() (peers.Identity, error) { return peers.NewIdentity(os.Getenv(built)) })

func certFiles(t *testing.T) peers.Identity {
	t.Helper()
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// server is a program that serves an address, and a tap on that address.
type server struct {
	*process
	tap *tap
}

// serve starts a server and waits until it listens.
func serve(t *testing.T, h *lab.Namespace, at netip.AddrPort, argv ...string) *server {
	t.Helper()
	s := &server{tap: openTap(t, h, at.Port())}
	s.process = start(t, h, argv[0], argv[1:]...)
	s.Until("it listens", func() bool { return peers.Listens(s.Cmd.Process.Pid, at) })
	return s
}

// builds caches the programs of bench/testkit/peers.
var builds = sync.OnceValue(func() *peers.Builder { return &peers.Builder{Dir: os.Getenv(built)} })

// startPeer starts a server of bench/testkit/peers; cookies are as for peers.Arguments.
func startPeer(t *testing.T, h *lab.Namespace, at netip.AddrPort, name, cookies string) *server {
	t.Helper()
	p := peers.Find(name)
	path, err := builds().Build(&p.Program)
	await.Require(t, p.Title, err)
	return serve(t, h, at, append([]string{path}, peers.Arguments(at, certFiles(t), cookies)...)...)
}

// startServer starts a server for any number of clients that accepts every cookie.
func startServer(t *testing.T, h *lab.Namespace, at netip.AddrPort) *server {
	t.Helper()
	return startPeer(t, h, at, "openssl", "trust")
}

var exampleFiles = sync.OnceValue(func() error { return examples.Build(os.Getenv(built)) })

// examplePath is the path of a program of examples.
func examplePath(t *testing.T, name string) string {
	t.Helper()
	await.Require(t, "Go, a C compiler and OpenSSL", exampleFiles())
	return filepath.Join(os.Getenv(built), name)
}

// startExample starts the OpenSSL server of examples, which verifies the guard's cookies itself.
func startExample(t *testing.T, h *lab.Namespace, at netip.AddrPort, secretFile string) *server {
	t.Helper()
	id := certFiles(t)
	return serve(t, h, at, examplePath(t, examples.OpenSSL), at.Addr().String(), strconv.Itoa(int(at.Port())), id.Certificate, id.Key, secretFile)
}

// startGate starts the Go program of examples, which verifies the guard's cookies in front of another server on the same host. The
// result's output is that server's.
func startGate(t *testing.T, h *lab.Namespace, at netip.AddrPort, secretFile string) *server {
	t.Helper()
	host := "127.0.0.1"
	if at.Addr().Is6() {
		host = "::1"
	}
	behind := netip.AddrPortFrom(netip.MustParseAddr(host), backendPort)
	hidden := startServer(t, h, behind)
	gate := serve(t, h, at, examplePath(t, examples.Gate), "-listen", at.String(), "-server", behind.String(), "-secret-file", secretFile)
	return &server{hidden.process, gate.tap}
}

// clients waits until the server has accepted n clients, and returns how many it has.
func (s *server) clients(n int) int {
	s.t.Helper()
	accepted := func() int { return strings.Count(s.Text(), "accepted") }
	s.Until(fmt.Sprint(n, " clients"), func() bool { return accepted() >= n })
	return accepted()
}
