package scenario

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/gen"
)

// serverSource is a server of many clients on OpenSSL, which the tests have too; modulePackage is where it is from.
const (
	modulePackage = "github.com/dtlsguard/dtlsguard"
	serverSource  = "frontend/e2e/testdata/echo_server.c"
)

// realServer is a whole server: built, and with a certificate.
type realServer struct{ binary, cert, key string }

func newRealServer(dir string) (s realServer, err error) {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", modulePackage).Output()
	if err != nil {
		return s, fmt.Errorf("find %s: run in its source: %w", modulePackage, err)
	}
	s = realServer{filepath.Join(dir, "server"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	source := filepath.Join(strings.TrimSpace(string(root)), serverSource)
	if out, err := exec.Command("cc", "-O2", "-o", s.binary, source, "-lssl", "-lcrypto", "-lpthread").CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(out), "\n")
		return s, fmt.Errorf("server does not compile (apt-get install gcc libc6-dev libssl-dev): %w: %s", err, first)
	}
	return s, s.certify()
}

// certify makes a throw-away certificate.
func (s *realServer) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(s.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600)
}

// start starts the server in the guard's namespace, on the CPU under test.
func (s *realServer) start(b *Bed, cookies string) error {
	port := fmt.Sprint(b.Service.Port())
	cmd := exec.Command(s.binary, b.Service.Addr().String(), port, s.cert, s.key, cookies)
	return b.serve(cmd, func() bool { return listens(cmd.Process.Pid, b.Service.Port()) })
}

// inlineTrial is the server with the guard's program before it, which answers in the kernel, and alone.
func inlineTrial(dir string) (*Trial, error) {
	t, err := gen.FirstHello(question())
	if err != nil {
		return nil, err
	}
	server, err := newRealServer(dir)
	skip := ""
	if err != nil {
		skip = err.Error()
	}
	guarded := &Subject{Name: "dtlsguard xdp, inline", At: gen.Driver, Skip: skip, Start: func(b *Bed) error {
		if err := server.start(b, "trust"); err != nil { // any cookie: the guard has looked at it
			return err
		}
		return startGuard(b, guardOptions{})
	}}
	alone := &Subject{Name: "no guard", At: gen.Stack, Skip: skip, Start: func(b *Bed) error {
		return server.start(b, "harvest") // cookies of its own
	}}
	return &Trial{Template: t, Subjects: []*Subject{guarded, alone}}, nil
}
