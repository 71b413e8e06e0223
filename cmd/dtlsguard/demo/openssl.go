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
		return nil, hint.Errorf("apt-get install openssl", "the openssl command, whose server and client are shown, is not there")
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

// reservePort takes a free loopback port and keeps it from everybody else until closed, so that the server finds
// it free at each of its starts: s_server sets SO_REUSEADDR, and so does this socket. It gets none of the
// server's datagrams, as it is connected to the discard port.
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

// command prepares an openssl process that dies with ctx, and with this process, however that ends. It is in a
// process group of its own, so that Ctrl-C comes to us alone and nothing ends in disorder. Whoever starts it
// must stay on the thread until it has ended: to the kernel, the parent that Pdeathsig is about is the thread.
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

// startServer starts s_server. What it receives it prints, and what it reads it sends: a pipe from its output
// to its input makes it echo, and keeps its input open, without which it would quit.
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

// stop ends the process and waits until it is gone. Stopping twice is fine, and so is one that did not start.
func (p *serverProcess) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // asked nicely, s_server takes half a second
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

// failure says why the process has ended; nil if it runs.
func (p *serverProcess) failure() error {
	if p.running() {
		return nil
	}
	return fmt.Errorf("openssl s_server ended (%v): %s", p.cmd.ProcessState, complaint(p.stderr.String()))
}

// complaint is the line of an openssl command's error output that says most.
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
	return "it said nothing"
}
