package frontend

import (
	"errors"
	"os"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/handover"
)

// Stow puts the state of the guard and its open files into the queue of a socket, for a process that is started when this one
// has ended, and returns the end to read from. The guard stops serving: what arrives waits in its sockets, and this process
// must exit without ending flows. What does not fit into the queue is lost, which is logged. On error the guard continues to
// serve.
func (s *Server) Stow() (*os.File, error) {
	if !s.reload.TryLock() {
		return nil, errors.New("a reload or an upgrade is under way")
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

// Detach takes the programs off; the error says that they are still attached.
func (s *Server) Detach() error { return s.kernel.detach() }
