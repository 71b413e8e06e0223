package scenario

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/gen"
	"github.com/dtlsguard/dtlsguard/bench/lab"
	"github.com/dtlsguard/dtlsguard/bench/peers"
)

// daemonPackage is built anew, so that what is measured is the source that is there.
const daemonPackage = "github.com/dtlsguard/dtlsguard/cmd/dtlsguard"

func buildDaemon(dir string) (string, error) {
	binary := filepath.Join(dir, "dtlsguard")
	if out, err := exec.Command("go", "build", "-o", binary, daemonPackage).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %s", daemonPackage, strings.TrimSpace(string(out)))
	}
	return binary, nil
}

// metricsPort is where a daemon in the guard's namespace says that it is ready.
const metricsPort = 9477

// workersSubject is the daemon as a proxy, with a worker for each CPU under test, behind its XDP program or alone.
func workersSubject(name, dir string, xdp bool) *Subject {
	s := &Subject{Name: name, At: gen.Stack, Handled: rightAnswers}
	server, err := peers.Find("openssl").Build(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	binary, err := buildDaemon(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	id, err := peers.NewIdentity(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	s.Start = func(b *Bed) error {
		// The daemon wants to see a server; nothing of a flood comes to it.
		at := netip.AddrPortFrom(lab.Server4, servicePort)
		backend := exec.Command(server, peers.Arguments(at, id, "")...)
		if err := b.start(b.Lab.Server, backend, func() bool { return listens(backend.Process.Pid, servicePort) }); err != nil {
			return err
		}
		return b.proxy(binary, at, xdp)
	}
	return s
}

// proxy starts the daemon as a proxy before a server.
func (b *Bed) proxy(binary string, server netip.AddrPort, xdp bool, more ...string) error {
	cpus := strings.Trim(strings.ReplaceAll(fmt.Sprint(b.cpus), " ", ","), "[]")
	// Confined from its first thread on: it sees to it where its workers are.
	args := []string{"-c", cpus, binary, "run",
		"--listen", b.Service.String(), "--backend", server.String(), "--handoff", "trust",
		"--workers", fmt.Sprint(len(b.cpus)), "--metrics-listen", fmt.Sprintf("127.0.0.1:%d", metricsPort), "--control", "off"}
	if xdp {
		args = append(args, "--interface", b.Front(), "--xdp-mode", "native", "--answer", "workers", "--pin", "off")
	}
	cmd := exec.Command("taskset", append(args, more...)...)
	if err := b.serve(cmd, b.daemonReady); err != nil {
		return err
	}
	b.daemon = cmd.Process.Pid
	return nil
}

// daemonReady asks the daemon in the guard's namespace.
func (b *Bed) daemonReady() bool {
	var conn net.Conn
	err := b.Lab.Guard.Do(func() (err error) {
		conn, err = net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", metricsPort))
		return err
	})
	if err != nil {
		return false
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /readyz HTTP/1.0\r\n\r\n")
	status, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.Contains(status, " 200 ")
}
