package frontend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// What a guard that hands over waits for at most.
const (
	// holdTime is for the questions to back ends that are under way: as long as one is asked that is silent.
	holdTime = 5 * time.Second
	// parkTime is for workers to end what they are about, a batch.
	parkTime = 2 * time.Second
)

// hold stops the workers of a guard between two batches. What comes meanwhile waits in their sockets.
type hold struct {
	parked sync.WaitGroup
	resume chan struct{}
}

// park is what a worker does that was woken: nothing, unless its service is held.
func (w *worker) park() {
	if h := w.service.held.Load(); h != nil {
		w.counts.Publish()
		h.parked.Done()
		<-h.resume
		w.alive.Store(w.service.clock())
	}
}

// freeze stops all that changes what export reads, until thaw. With leave instead, only questions about the guard are answered
// again. It needs the reload lock.
func (s *Server) freeze() (thaw, leave func(), err error) {
	var open []func()
	leave = func() {
		if s.kernel != nil {
			s.kernel.over.Store(true)
		}
		for _, f := range open {
			f()
		}
	}
	var undo []func()
	thaw = func() {
		for i := range undo {
			undo[len(undo)-1-i]()
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), holdTime)
	defer cancel()
	services := s.list()
	for _, v := range services {
		for _, e := range v.everyBackend() {
			release, err := e.Hold(ctx)
			if err != nil {
				thaw()
				return nil, nil, err
			}
			undo = append(undo, release)
		}
	}
	lock := func(l sync.Locker) { l.Lock(); undo = append(undo, l.Unlock) }
	for _, x := range s.allSecrets() {
		lock(&x.mu)
	}
	for _, v := range services {
		lock(&v.mu)
		open = append(open, v.mu.Unlock)
	}
	if s.kernel != nil {
		lock(&s.kernel.turn)
	}
	h := &hold{resume: make(chan struct{})}
	s.frozen.Store(true)
	undo = append(undo, func() {
		for _, v := range services {
			v.held.Store(nil)
		}
		close(h.resume)
		for _, v := range services {
			for _, w := range v.workers {
				w.alive.Store(s.clock()) // they come by soon
			}
		}
		s.frozen.Store(false)
	})
	for _, v := range services {
		h.parked.Add(len(v.workers))
		v.held.Store(h)
		for _, w := range v.workers {
			w.poller.Wake()
		}
	}
	done := make(chan struct{})
	go func() { h.parked.Wait(); close(done) }()
	select {
	case <-done:
		return thaw, leave, nil
	case <-time.After(parkTime):
		thaw()
		return nil, nil, errors.New("a worker does not stop")
	}
}

// everyBackend is each back end that has answered.
func (v *service) everyBackend() (all []*liveBackend) {
	for _, t := range v.list() {
		if e := t.backend.Load(); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// UpgradeCounts counts upgrades by how they ended.
type UpgradeCounts struct {
	Done   uint64 `json:"done"`
	Failed uint64 `json:"failed"`
}

// upgradeCounters is where they are counted.
type upgradeCounters struct{ done, failed atomic.Uint64 }

func (c *upgradeCounters) load() UpgradeCounts { return UpgradeCounts{c.done.Load(), c.failed.Load()} }
