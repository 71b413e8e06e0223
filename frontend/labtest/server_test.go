package labtest

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/lab"
	"github.com/dtlsguard/dtlsguard/bench/peers"
)

// identity makes the servers' certificate and key, once for all tests.
var identity = sync.OnceValues(func() (peers.Identity, error) { return peers.NewIdentity(os.Getenv(built)) })

// compiled is the path of the server in testdata.
var compiled = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv(built), "server")
	out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-o", path, "testdata/server.c", "-lssl", "-lcrypto", "-lpthread").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// server is the server in testdata.
type server struct{ *process }

// byAddress, for a secret file, makes a server's cookies its own, of the client's address and port: harvestable.
const byAddress = "address"

// startServer starts one that trusts, or with a secret file one that verifies the guard's cookies.
func startServer(t *testing.T, h *lab.Namespace, at netip.AddrPort, secretFile string) *server {
	t.Helper()
	path, err := compiled()
	require(t, "a C compiler and OpenSSL (apt-get install gcc libc6-dev libssl-dev)", err)
	id, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	if secretFile == "" {
		secretFile = "trust"
	}
	s := &server{start(t, h, path, at.Addr().String(), strconv.Itoa(int(at.Port())), id.Certificate, id.Key, secretFile)}
	s.expect("ready\n")
	return s
}

// counts are what a server has seen: datagrams, those of them that are a flood's, and complete handshakes.
type counts struct{ received, flood, clients uint64 }

// counts asks the server.
func (s *server) counts() (c counts) {
	s.t.Helper()
	before := len(s.text())
	s.say("")
	s.until("counters", func() bool { return strings.HasSuffix(s.text()[before:], "\n") })
	if _, err := fmt.Sscanf(s.text()[before:], "received %d flood %d clients %d\n", &c.received, &c.flood, &c.clients); err != nil {
		s.t.Fatalf("server says %q: %v", s.text()[before:], err)
	}
	return c
}
