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

// workersSubject is the daemon as a proxy behind its XDP program, with one worker.
func workersSubject(dir string) *Subject {
	s := &Subject{Name: "dtlsguard workers", At: gen.Stack, Handled: rightAnswers}
	server, err := peers.Find("openssl").Build(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	id, err := peers.NewIdentity(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	binary, err := buildDaemon(dir)
	if err != nil {
		s.Skip = err.Error()
		return s
	}
	s.Start = func(b *Bed) error {
		// The daemon wants to see a server; nothing of a flood comes to it.
		backend := exec.Command(server, peers.Arguments(netip.AddrPortFrom(lab.Server4, servicePort), id, "")...)
		if err := b.start(b.Lab.Server, backend, func() bool { return listens(backend.Process.Pid, servicePort) }); err != nil {
			return err
		}
		// Confined from its first thread on: it sees to it where its workers are.
		cmd := exec.Command("taskset", "-c", fmt.Sprint(subjectCPU), binary, "run",
			"--listen", b.Service.String(), "--backend", fmt.Sprintf("%v:%d", lab.Server4, servicePort),
			"--interface", b.Front(), "--xdp-mode", "native", "--answer", "workers", "--handoff", "trust",
			"--workers", "1", "--metrics-listen", fmt.Sprintf("127.0.0.1:%d", metricsPort), "--control", "off")
		return b.serve(cmd, b.daemonReady)
	}
	return s
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
