package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// openssl is the openssl command with a throw-away certificate.
type openssl struct {
	path      string
	cert, key string // PEM files
	server    netip.AddrPort
	reserved  net.Conn // keeps server's port free for it
}

// newOpenSSL finds the command, and makes a certificate in dir.
func newOpenSSL(dir string) (*openssl, error) {
	path, err := exec.LookPath("openssl")
	if err != nil {
		return nil, hint.Errorf("apt-get install openssl", "the openssl command is missing, whose server and client the demo uses")
	}
	o := &openssl{path: path, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	if err := o.certify(); err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	if o.reserved, err = reservePort(); err != nil {
		return nil, fmt.Errorf("find a port for the server: %w", err)
	}
	o.server = o.reserved.LocalAddr().(*net.UDPAddr).AddrPort()
	return o, nil
}

// certify writes a self-signed certificate for 127.0.0.1 and its key.
func (o *openssl) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dtlsguard demo"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   now.Add(-time.Hour), NotAfter: now.Add(time.Hour), // clocks differ, demos are short
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(file, kind string, der []byte) error {
		return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(write(o.cert, "CERTIFICATE", cert), write(o.key, "PRIVATE KEY", private))
}

// reservePort reserves a free loopback port until it is closed, so that the server can bind it at each of its
// starts: s_server sets SO_REUSEADDR, and so does this socket. It receives none of the
// server's datagrams, because it is connected to the discard port.
func reservePort() (net.Conn, error) {
	d := net.Dialer{
		LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)},
		Control: func(_, _ string, c syscall.RawConn) error {
			var option error
			err := c.Control(func(fd uintptr) {
				option = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			})
			return errors.Join(err, option)
		},
	}
	return d.Dial("udp4", "127.0.0.1:9")
}

// close gives the port back.
func (o *openssl) close() { o.reserved.Close() }

// command prepares an openssl process that is killed when ctx or this process ends. It has its own process group,
// so that only this process gets Ctrl-C and everything ends in order. The caller must start it on a locked thread
// and keep that until the process has ended, because Pdeathsig is sent when the starting thread ends.
func (o *openssl) command(ctx context.Context, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, o.path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	stderr := new(bytes.Buffer)
	cmd.Stderr = stderr
	return cmd, stderr
}

// serverProcess is an s_server that echoes.
type serverProcess struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	exited chan struct{}
}

// startServer starts s_server. It prints what it receives and sends what it reads: a pipe from its output to its
// input makes it echo, and keeps its input open, so that it does not quit.
func (o *openssl) startServer(ctx context.Context) (*serverProcess, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for s_server: %w", err)
	}
	defer r.Close()
	defer w.Close()
	cmd, stderr := o.command(ctx, "s_server", "-dtls1_2", "-listen", "-accept", o.server.String(),
		"-cert", o.cert, "-key", o.key, "-quiet")
	cmd.Stdin, cmd.Stdout = r, w
	p := &serverProcess{cmd: cmd, stderr: stderr, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // failure reads how it ended
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start s_server: %w", err)
	}
	return p, nil
}

// stop kills the process and waits until it has ended. It may be called twice, and for a process that did not start.
func (p *serverProcess) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // on SIGTERM s_server takes half a second
	<-p.exited
}

func (p *serverProcess) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// failure returns why the process has ended; nil if it runs.
func (p *serverProcess) failure() error {
	if p.running() {
		return nil
	}
	return fmt.Errorf("openssl s_server ended (%v): %s", p.cmd.ProcessState, complaint(p.stderr.String()))
}

// complaint is the most useful line of an openssl command's error output.
func complaint(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for _, l := range lines {
		// Like 80DBCA18017F0000:error:10080002:BIO routines:file_ctrl:system lib:../crypto/bio/bss_file.c:340:
		if _, what, ok := strings.Cut(l, ":error:"); ok {
			return strings.TrimRight(what, ":")
		}
	}
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "it printed nothing"
}
