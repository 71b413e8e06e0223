package frontend

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// Stow puts the state of the guard and its open files into the queue of a socket, for a process that is started when this one
// has ended, and returns the end to read from. The guard stops serving: what arrives waits in its sockets, and this process
// must exit without ending flows. What does not fit into the queue is lost, which is logged. On error the guard continues to
// serve.
func (s *Server) Stow() (*os.File, error) {
	if !lockWithin(&s.reload, stowWait) {
		return nil, fmt.Errorf("a reload or an upgrade has not ended in %v", stowWait)
	}
	defer s.reload.Unlock()
	conn, queue, err := handover.Pair()
	if err != nil {
		return nil, err
	}
	thaw, leave, err := s.freeze()
	if err != nil {
		conn.Close()
		queue.Close()
		return nil, err
	}
	began := time.Now()
	b, files, err := s.export()
	sent := 0
	if err == nil {
		conn.Grow(files.Len()/100 + 10)
		sent, err = conn.Send(b, files)
	}
	if err != nil && sent == 0 {
		conn.Close()
		queue.Close()
		thaw()
		return nil, err
	}
	if err != nil {
		s.config.Log.Error("not all flows fit into what the restart takes over; the others end", "asked", files.Len(), "possible", sent, "error", err,
			"hint", "sysctl -w net.core.wmem_max=8388608, and LimitNOFILE= above the number of flows")
	}
	s.config.Log.Info("flows are kept for the restart", "flows", s.Flows(), "took", time.Since(began).Round(time.Millisecond/10))
	leave()
	conn.Close() // what is queued stays
	return queue, nil
}

// stowWait is for a running reload: it resolves names, and opens sockets. systemd waits for 90 s (TimeoutStopSec=).
const stowWait = 20 * time.Second

// lockWithin locks m, unless that takes longer than wait.
func lockWithin(m *sync.Mutex, wait time.Duration) bool {
	const every = 10 * time.Millisecond
	for end := time.Now().Add(wait); !m.TryLock(); time.Sleep(every) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// Detach detaches the programs; an error means that they are still attached.
func (s *Server) Detach() error { return s.kernel.detach() }
