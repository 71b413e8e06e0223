package bpf

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	l, err := lab.New(strings.ToLower(strings.NewReplacer("/", "-", "Test", "").Replace(t.Name())))
	need(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func attach(t *testing.T, l *lab.Lab, g *Programs, iface string, mode AttachMode) AttachMode {
	t.Helper()
	var got AttachMode
	if err := l.Middle.Do(func() (err error) {
		got, err = g.Attach(iface, mode)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

// startServer compiles and starts the C server in the guard's namespace and returns the lines it prints.
func startServer(t *testing.T, l *lab.Lab, args ...string) <-chan string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "server")
	if out, err := exec.Command("cc", "-O1", "-Wall", "-Werror", "-o", bin, "testdata/server.c", "-lssl", "-lcrypto").CombinedOutput(); err != nil {
		if os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
			t.Skipf("needs cc and libssl-dev: %v\n%s", err, out)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	cert, key := certificate(t, dir)
	cmd := exec.Command(bin, append([]string{"::", "4433", cert, key}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := l.Middle.Start(cmd); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-done
		cmd.Wait()
	})
	expect(t, lines, "ready")
	return lines
}

func expect(t *testing.T, lines <-chan string, want string) {
	t.Helper()
	select {
	case got := <-lines:
		if got != want {
			t.Fatalf("server says %q, want %q", got, want)
		}
	case <-time.After(await.Patience):
		t.Fatalf("server does not say %q", want)
	}
}

func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: kder}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// clients are command lines of real clients for an address and a port.
var clients = map[string]func(netip.Addr, string) []string{
	"openssl": func(a netip.Addr, port string) []string {
		return []string{"openssl", "s_client", "-dtls1_2", "-quiet", "-no_ign_eof", "-connect", bracket(a) + ":" + port}
	},
	"openssl in fragments": func(a netip.Addr, port string) []string {
		return []string{"openssl", "s_client", "-dtls1_2", "-quiet", "-no_ign_eof", "-mtu", "256", "-connect", bracket(a) + ":" + port}
	},
	"gnutls": func(a netip.Addr, port string) []string {
		return []string{"gnutls-cli", "--udp", "--insecure", "-p", port, a.String()}
	},
	"gnutls in fragments": func(a netip.Addr, port string) []string {
		return []string{"gnutls-cli", "--udp", "--insecure", "--mtu", "200", "-p", port, a.String()}
	},
}

func bracket(a netip.Addr) string {
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// session is the association of a real client.
type session struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err *bytes.Buffer
}

// open starts a client, which connects at once. It ends with ctx.
func open(ctx context.Context, n *lab.Namespace, args []string) (*session, error) {
	s := &session{cmd: exec.CommandContext(ctx, args[0], args[1:]...), err: new(bytes.Buffer)}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.cmd.Stderr = s.err
	s.out = bufio.NewScanner(out)
	return s, n.Start(s.cmd)
}

// patience is how long a client may take: many retransmissions.
const patience = await.Patience

func dial(t *testing.T, n *lab.Namespace, args []string) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := open(ctx, n, args)
	if err != nil {
		if os.Getenv("DTLSGUARD_REQUIRE_BPF") == "" {
			t.Skipf("needs %s: %v", args[0], err)
		}
		t.Fatal(err)
	}
	return s
}

// echo sends a line and waits until it comes back in capitals.
func (s *session) echo(text string) error {
	if _, err := fmt.Fprintln(s.in, text); err != nil {
		return fmt.Errorf("%w\n%s", err, s.err)
	}
	var seen []string
	for s.out.Scan() {
		if strings.Contains(s.out.Text(), strings.ToUpper(text)) {
			return nil
		}
		seen = append(seen, s.out.Text())
	}
	s.cmd.Wait()
	return fmt.Errorf("%q did not come back\n%s\n%s", text, strings.Join(seen, "\n"), s.err)
}

// close ends the association as clients do: the server's process for it must go, or a later client with the
// same port would talk to that.
func (s *session) close() {
	s.in.Close()
	io.Copy(io.Discard, &scannerRest{s.out})
	s.cmd.Wait()
}

// scannerRest reads what is left, so that the client can end.
type scannerRest struct{ s *bufio.Scanner }

func (r *scannerRest) Read(p []byte) (int, error) {
	if r.s.Scan() {
		return min(len(r.s.Bytes()), len(p)), nil
	}
	return 0, io.EOF
}

// Real clients complete the handshake with the cookie that the kernel gave them, and talk, while the server
// itself sees only second ClientHellos: with the shared secret it finds the same cookie.
func TestRealClients(t *testing.T) {
	l := newLab(t)
	g := guarding(t, inline())
	startServer(t, l, testSecret.Hex(), "5a")
	for _, mode := range []AttachMode{AttachNative, AttachGeneric} {
		if got := attach(t, l, g, lab.ToClient, mode); got != mode {
			t.Errorf("attached in %v mode, want %v", got, mode)
		}
		for name, args := range clients {
			for _, a := range []netip.Addr{lab.Middle4, lab.Middle6} {
				t.Run(fmt.Sprintf("%v/%s/%v", mode, name, a), func(t *testing.T) {
					before := counters(t, g)
					s := dial(t, l.Client, args(a, "4433"))
					defer s.close()
					if err := s.echo("through the guard"); err != nil {
						t.Fatalf("%v\n%s", err, moved(t, g, before))
					}
					now := counters(t, g)
					if now.Verdict[Answered] == before.Verdict[Answered] || now.Verdict[PassVerified] == before.Verdict[PassVerified] || now.Verdict[PassFlow] == before.Verdict[PassFlow] {
						t.Errorf("not through the guard: %s", moved(t, g, before))
					}
				})
			}
		}
		if err := g.Detach(); err != nil {
			t.Fatal(err)
		}
	}
}
