package frontend

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// HandoverVariable names the environment variable with the number of the file by which a guard talks to its predecessor.
const HandoverVariable = "DTLSGUARD_HANDOVER_FD"

// StoredState is the name of the file in the service manager's store that has the state of a guard that was restarted.
const StoredState = "dtlsguard-state"

// Messages between the two guards. The new one speaks first.
const (
	sayHello    = "hello"    // new: it has started; PID holds its version
	sayFiles    = "files"    // old: the files needed to prepare
	sayPrepared = "prepared" // new: everything slow is done; the state may follow
	sayAdopted  = "adopted"  // new: ready to serve
	sayGo       = "go"       // old: has stopped serving
	sayServing  = "serving"  // new: serves, so the old one may exit
	sayYours    = "yours"    // old: the service manager knows the new one
	sayFailed   = "failed"   // either: the handover is cancelled
)

// Timeouts of the steps of a handover.
const (
	// meetTime is for the old guard to send its files; it is waiting for us.
	meetTime = 10 * time.Second
	// adoptTime is about ten times what a hundred thousand flows take; clients wait for it.
	adoptTime = 5 * time.Second
	// yoursTime is for telling the service manager.
	yoursTime = 5 * time.Second
	// storedTime is for reading what is queued already.
	storedTime = 10 * time.Second
)

// Predecessor is the guard that this one replaces: a living one, or the state that one left with the service manager.
type Predecessor struct {
	conn  *handover.Conn
	live  bool
	files map[string]int
}

// FindPredecessor returns the predecessor that this process was started to replace; nil if there is none.
func FindPredecessor() (*Predecessor, error) {
	number, ok := os.LookupEnv(HandoverVariable)
	_ = os.Unsetenv(HandoverVariable)
	if ok {
		fd, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", HandoverVariable, err)
		}
		p := &Predecessor{live: true}
		if p.conn, err = handover.FromFD(fd); err != nil {
			return nil, err
		}
		return p, p.meet()
	}
	var found *Predecessor
	for _, f := range activation.Files(true) {
		if f.Name() != StoredState || found != nil {
			f.Close()
			continue
		}
		conn, err := handover.FromFile(f)
		if err != nil {
			return nil, err
		}
		found = &Predecessor{conn: conn}
	}
	return found, nil
}

// meet starts the exchange with a running predecessor.
func (p *Predecessor) meet() error {
	if err := p.conn.Tell(handover.Message{Say: sayHello, Version: handover.Version, PID: os.Getpid()}); err != nil {
		return fmt.Errorf("talk to the previous guard: %w", err)
	}
	m, fds, err := p.hear(sayFiles, meetTime)
	if err != nil {
		return err
	}
	p.files = make(map[string]int)
	for i, name := range m.Files {
		p.files[name] = fds[i]
	}
	return nil
}

// hear waits for a message of the old guard.
func (p *Predecessor) hear(say string, wait time.Duration) (handover.Message, []int, error) {
	m, fds, err := p.conn.Hear(wait)
	switch {
	case err != nil:
		return m, nil, fmt.Errorf("wait for the previous guard: %w", err)
	case m.Say == sayFailed:
		return m, nil, fmt.Errorf("the previous guard continues: %s", m.Error)
	case m.Say != say:
		return m, nil, fmt.Errorf("the previous guard sent %q, want %q", m.Say, say)
	}
	return m, fds, nil
}

// Live reports whether the predecessor waits for this guard to serve. It is false for a nil Predecessor.
func (p *Predecessor) Live() bool { return p != nil && p.live }

// File returns an open file of the predecessor by name, which the caller owns; -1 if there is none.
func (p *Predecessor) File(name string) int {
	if p == nil {
		return -1
	}
	fd, ok := p.files[name]
	if !ok {
		return -1
	}
	delete(p.files, name)
	return fd
}

// state receives the state, when everything else is prepared.
func (p *Predecessor) state() ([]byte, *handover.Files, error) {
	if !p.live {
		return p.conn.Receive(storedTime)
	}
	if err := p.conn.Tell(handover.Message{Say: sayPrepared}); err != nil {
		return nil, nil, err
	}
	return p.conn.Receive(holdTime + parkTime + adoptTime)
}

// Adopted reports that this guard can serve, and waits until it may. If the predecessor dies before, this guard replaces it.
func (p *Predecessor) Adopted(log *slog.Logger) error {
	if !p.Live() {
		return nil
	}
	if err := p.conn.Tell(handover.Message{Say: sayAdopted, PID: os.Getpid()}); err != nil && !errors.Is(err, unix.EPIPE) {
		return err
	}
	_, _, err := p.hear(sayGo, adoptTime)
	if errors.Is(err, io.EOF) {
		log.Warn("the previous guard has ended without an answer; serving in its place")
		return nil
	}
	return err
}

// Serving reports that this guard serves, and returns when it may tell the service manager.
func (p *Predecessor) Serving() {
	if p == nil {
		return
	}
	if p.live && p.conn.Tell(handover.Message{Say: sayServing}) == nil {
		_, _, _ = p.hear(sayYours, yoursTime) // no answer: it has exited already
	}
	p.live = false
	p.conn.Close()
	for _, fd := range p.files {
		_ = unix.Close(fd)
	}
	p.files = nil
}

// Fail reports why this guard cannot replace its predecessor, which then continues.
func (p *Predecessor) Fail(err error) {
	if p.Live() {
		_ = p.conn.Tell(handover.Message{Say: sayFailed, Error: hint.Line(err), Hint: hint.Of(err)})
		p.conn.Close()
	}
}

// inherit receives what the predecessor hands over. State from the service manager that cannot be read does not prevent serving.
func (s *Server) inherit() error {
	p := s.config.Predecessor
	if p == nil {
		return nil
	}
	b, files, err := p.state()
	if err == nil {
		if s.inherited, err = newInherited(b, files, s.config.Log); err != nil {
			files.Close() // otherwise their ports stay in use
		}
	}
	if err != nil && !p.live {
		s.config.Log.Error("the previous guard's state cannot be taken over: its flows have ended", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	g := s.inherited.state
	for name, t := range g.Totals {
		s.gone[name] = t.Totals()
	}
	s.events.Continue(g.Events)
	s.upgrades.done.Store(g.Upgrades.Done)
	s.upgrades.failed.Store(g.Upgrades.Failed)
	s.reloads.Store(g.Reloads[0])
	s.reloadsFailed.Store(g.Reloads[1])
	if p.live {
		s.upgrades.done.Add(1)
	}
	return nil
}

// inheritFlows continues the flows of the predecessor.
func (s *Server) inheritFlows() error {
	if s.inherited == nil {
		return nil
	}
	if err := s.inherited.flows(); err != nil {
		return err
	}
	s.inherited.done()
	s.inherited = nil
	for _, v := range s.services {
		v.inherited = nil
	}
	return nil
}
