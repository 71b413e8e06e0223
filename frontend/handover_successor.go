package frontend

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Upgrade describes how another process is to replace the guard.
type Upgrade struct {
	Start time.Duration // how long it may take to start; 0: DefaultUpgradeStart
}

// DefaultUpgradeStart is for loading the programs on a slow machine.
const DefaultUpgradeStart = time.Minute

// Upgraded describes the process that replaced the guard.
type Upgraded struct {
	PID int `json:"pid"`
}

// String formats it in one line.
func (u Upgraded) String() string { return fmt.Sprintf("process %d serves", u.PID) }

// OnUpgrade sets the function by which Upgrade starts the successor; it must end with HandOver. Call it before Run.
func (s *Server) OnUpgrade(f func(Upgrade) (Upgraded, error)) { s.upgrade = f }

// Upgrade lets another process replace this one. On error, which is logged and counted, this process serves as before.
func (s *Server) Upgrade(u Upgrade) (done Upgraded, err error) {
	if u.Start == 0 {
		u.Start = DefaultUpgradeStart
	}
	err = errors.New("this guard cannot be upgraded")
	if s.upgrade != nil {
		done, err = s.upgrade(u)
	}
	if err != nil {
		s.upgrades.failed.Add(1)
		s.config.Log.Error("upgrade failed; serving on", "error", err)
	}
	return done, err
}

// Successor is a process that was started to replace this one.
type Successor struct {
	Conn     *handover.Conn
	Files    map[string]int // open files that it needs to prepare, which stay this process's
	Becoming func(pid int)  // called when it serves, before it reports that itself
	Start    time.Duration  // Upgrade.Start
	Kill     func()         // kills it if it does not exit
}

// HandOver hands everything to a successor. When it returns nil, the successor serves, and this process must exit at once: not
// even Run may return. On error this process serves as before.
func (s *Server) HandOver(n *Successor) error {
	defer n.Conn.Close()
	if !s.reload.TryLock() {
		return hint.Errorf("try again when it is done", "a reload or an upgrade is under way")
	}
	defer s.reload.Unlock()
	if err := s.mayHandOver(); err != nil {
		return err
	}
	pid, err := s.prepare(n)
	if err != nil {
		n.end(err)
		return err
	}
	thaw, leave, err := s.freeze()
	if err != nil {
		n.end(err)
		return err
	}
	began := time.Now()
	if err := s.pass(n); err != nil {
		n.end(err)
		if s.kernel != nil {
			s.kernel.retake()
		}
		thaw()
		return err
	}
	s.config.Log.Info("handed over", "pid", pid, "flows", s.Flows(), "pause", time.Since(began).Round(time.Millisecond/10))
	leave()
	if n.Becoming != nil {
		n.Becoming(pid)
	}
	_ = n.Conn.Tell(handover.Message{Say: sayYours}) // an error: it has exited already
	return nil
}

// mayHandOver returns an error if the guard cannot be handed over.
func (s *Server) mayHandOver() error {
	for _, v := range s.list() {
		if v.draining.Load() {
			return hint.Errorf("wait until it has ended", "%s drains", v.name)
		}
	}
	if s.kernel != nil && len(s.kernel.guard.Locks()) < len(s.kernel.config.Interfaces) {
		return hint.Errorf("mount a bpffs and restart the guard: mount -t bpf bpf /sys/fs/bpf", "the programs of XDP are not pinned, so nobody can take them over")
	}
	return nil
}

// prepare waits until the successor has done everything slow, and returns its process ID.
func (s *Server) prepare(n *Successor) (pid int, err error) {
	m, err := n.hear(sayHello, n.Start)
	if err != nil {
		return 0, err
	}
	if m.Version != handover.Version {
		return m.PID, hint.Errorf("restart the guard instead", "the new program reads states of version %d, and this one writes version %d", m.Version, handover.Version)
	}
	var names []string
	var fds []int
	for name, fd := range n.Files {
		names, fds = append(names, name), append(fds, fd)
	}
	if s.kernel != nil {
		for iface, fd := range s.kernel.guard.Locks() {
			names, fds = append(names, pinsFile+iface), append(fds, fd)
		}
	}
	if err := n.Conn.Tell(handover.Message{Say: sayFiles, Files: names}, fds...); err != nil {
		return m.PID, n.reason(err)
	}
	_, err = n.hear(sayPrepared, n.Start)
	return m.PID, err
}

// pinsFile is the prefix of the lock file of an interface's pins.
const pinsFile = "pins="

// pass sends the state. The guard is frozen.
func (s *Server) pass(n *Successor) error {
	b, files, err := s.export()
	if err != nil {
		return err
	}
	if _, err := n.Conn.Send(b, files); err != nil {
		return n.reason(err)
	}
	if _, err := n.hear(sayAdopted, adoptTime); err != nil {
		return err
	}
	if err := n.Conn.Tell(handover.Message{Say: sayGo}); err != nil {
		return n.reason(err)
	}
	_, err = n.hear(sayServing, adoptTime)
	return err
}

// steps describe what the successor has done with each message.
var steps = map[string]string{
	sayHello: "started", sayPrepared: "opened what it needs", sayAdopted: "taken over the state", sayServing: "begun to serve", sayFailed: "said why it failed",
}

// hear waits for a message of the successor.
func (n *Successor) hear(say string, wait time.Duration) (handover.Message, error) {
	m, fds, err := n.Conn.Hear(wait)
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	switch {
	case errors.Is(err, io.EOF):
		return m, hint.Errorf("if it said anything, that is in the log; start the program by hand to see whether it works", "the new program ended before it served and gave no reason")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return m, hint.Errorf("give it longer (command upgrade with setting timeout); its output is in the log", "the new program has not %s within %v", steps[say], wait)
	case err != nil:
		return m, fmt.Errorf("the new program has not %s: %w", steps[say], err)
	case m.Say == sayFailed && m.Hint != "":
		return m, hint.Errorf(m.Hint, "the new program does not start: %s", m.Error)
	case m.Say == sayFailed:
		return m, fmt.Errorf("the new program does not start: %s", m.Error)
	case m.Say != say:
		return m, fmt.Errorf("the new program sent %q, want %q", m.Say, say)
	}
	return m, nil
}

// reason returns why the exchange with the successor failed: its own last message, if there is one.
func (n *Successor) reason(err error) error {
	if _, said := n.hear(sayFailed, time.Second); said != nil && !errors.Is(said, io.EOF) {
		return said
	}
	return fmt.Errorf("talk to the new program: %w", err)
}

// endTime is for a killed successor to exit: the kernel takes its memory and programs apart. This guard's clients wait for it.
const endTime = 10 * time.Second

// end ends the successor, and returns when it has exited: two guards must not serve the same sockets. After endTime it
// returns in any case, for then nobody serves.
func (n *Successor) end(why error) {
	_ = n.Conn.Tell(handover.Message{Say: sayFailed, Error: hint.Line(why)})
	if n.Kill != nil {
		n.Kill()
	}
	for until := time.Now().Add(endTime); time.Now().Before(until); {
		_, fds, err := n.Conn.Hear(time.Until(until))
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
