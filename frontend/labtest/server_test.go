package labtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/lab"
)

// identity makes the servers' certificate and key, once for all tests.
var identity = sync.OnceValues(func() (files [2]string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return files, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return files, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return files, err
	}
	for i, b := range []pem.Block{{Type: "CERTIFICATE", Bytes: cert}, {Type: "PRIVATE KEY", Bytes: private}} {
		files[i] = filepath.Join(os.Getenv(built), strings.ReplaceAll(strings.ToLower(b.Type), " ", "-")+".pem")
		if err := os.WriteFile(files[i], pem.EncodeToMemory(&b), 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
})

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
	files, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	if secretFile == "" {
		secretFile = "trust"
	}
	s := &server{start(t, h, path, at.Addr().String(), strconv.Itoa(int(at.Port())), files[0], files[1], secretFile)}
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
