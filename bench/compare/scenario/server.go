package scenario

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/bench/testkit/peers"
	"github.com/dtlsguard/dtlsguard/frontend"
)

// server is a built server of package peers.
type server struct {
	*peers.Server
	binary string
	id     peers.Identity
}

// newServer builds the server of that name. An error names the package to install.
func newServer(name string, w *Fixtures) (s server, err error) {
	s.Server = peers.Find(name)
	if s.binary, err = w.servers.Build(&s.Program); err == nil {
		s.id, err = w.identity()
	}
	return s, err
}

func (s *server) command(at netip.AddrPort, cookies string) (cmd *exec.Cmd, listening func() bool) {
	cmd = exec.Command(s.binary, peers.Arguments(at, s.id, cookies)...)
	return cmd, func() bool { return peers.Listens(cmd.Process.Pid, at) }
}

// start starts the server at the service's address, in the guard's namespace, on the CPU under test.
func (s *server) start(b *Testbed, cookies string) error {
	return b.serve(s.command(b.Service, cookies))
}

// startBehind starts it at streamServer, in the server's namespace.
func (s *server) startBehind(b *Testbed, cookies string) error {
	cmd, listening := s.command(streamServer, cookies)
	return b.start(b.Lab.Server, cmd, listening)
}

// streamServer is the address of servers in the server's namespace.
var streamServer = netip.AddrPortFrom(lab.Server4, servicePort)

// serverSubject is a server with sockets.
func serverSubject(name string, w *Fixtures) *Subject {
	server, err := newServer(name, w)
	s := &Subject{Name: server.Title, At: xdp.Stack, Handled: rightAnswers, Skip: reason(err)}
	if !server.Answers {
		s.Handled = allAnswers
	}
	s.Start = func(b *Testbed) error { return server.start(b, "") }
	return s
}

// preferredSubject is a server with one thread and sockets, at the priority of the guard's workers.
func preferredSubject(name string, w *Fixtures) *Subject {
	s := serverSubject(name, w)
	s.Name += ", at the workers' priority"
	start := s.Start
	s.Start = func(b *Testbed) error {
		if err := start(b); err != nil {
			return err
		}
		pid := b.tasks[len(b.tasks)-1]
		err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(frontend.DefaultNice)), 0)
		if errors.Is(err, os.ErrNotExist) {
			err = nil // a kernel without autogroups
		}
		return errors.Join(err, unix.Setpriority(unix.PRIO_PROCESS, pid, frontend.DefaultNice))
	}
	return s
}

// reason is the reason for skipping a subject; "" if it is not skipped.
func reason(errs ...error) string {
	for _, err := range errs {
		if err != nil {
			return err.Error()
		}
	}
	return ""
}
