package frontend

import (
	"strings"
	"testing"
	"time"
)

// TestAlive: a worker that does not go round any more is told of.
func TestAlive(t *testing.T) {
	s := &Server{started: time.Now(), zero: int64(time.Hour)}
	w := new(worker)
	s.services = []*service{{name: "turn", workers: []*worker{new(worker), w}}}
	if err := s.Alive(); err != nil {
		t.Errorf("before any worker runs: %v", err)
	}
	w.alive.Store(s.clock())
	if err := s.Alive(); err != nil {
		t.Errorf("a worker that moves: %v", err)
	}
	w.alive.Store(s.clock() - int64(time.Minute))
	if err := s.Alive(); err == nil || !strings.Contains(err.Error(), "worker 1 of turn") {
		t.Errorf("a worker that stalls: %v", err)
	}
}
