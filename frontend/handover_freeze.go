package frontend

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Timeouts of a guard that hands over.
const (
	// holdTime is for questions to back ends that are in progress: twice as long as one is probed that keeps state. Clients
	// are served meanwhile.
	holdTime = 20 * time.Second
	// parkTime is for workers to finish a batch.
	parkTime = 2 * time.Second
)

// hold stops the workers of a guard between two batches. What arrives in that time waits in their sockets.
type hold struct {
	parked sync.WaitGroup
	resume chan struct{}
}

// park blocks a woken worker while its service is held.
func (w *worker) park() {
	if h := w.service.held.Load(); h != nil {
		w.counts.Publish()
		h.parked.Done()
		<-h.resume
		w.alive.Store(w.service.clock())
	}
}

// heldBackends are the back ends whose watches are held, each with what releases it.
type heldBackends map[*liveBackend]func()

// hold holds the back ends of all services that are not held yet, side by side, so that it takes no longer than the slowest.
func (h heldBackends) hold(ctx context.Context, services []*service) (err error) {
	var open []*liveBackend
	for _, v := range services {
		v.mu.Lock()
		open = append(open, v.live...)
		v.mu.Unlock()
	}
	open = slices.DeleteFunc(open, func(e *liveBackend) bool { return h[e] != nil })
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, e := range open {
		wait.Go(func() {
			release, failed := e.Hold(ctx)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = failed
			} else {
				h[e] = release
			}
		})
	}
	wait.Wait()
	return err
}

// lock holds all back ends and locks their services: none is opened meanwhile.
func (h heldBackends) lock(ctx context.Context, services []*service) error {
	for {
		if err := h.hold(ctx, services); err != nil {
			return err
		}
		all := true
		for _, v := range services {
			v.mu.Lock()
			all = all && !slices.ContainsFunc(v.live, func(e *liveBackend) bool { return h[e] == nil })
		}
		if all {
			return nil
		}
		for _, v := range services {
			v.mu.Unlock()
		}
	}
}

func (h heldBackends) release() {
	for _, f := range h {
		f()
	}
}

// freeze stops everything that changes what export reads, until thaw; after leave only status requests are answered again. The
// caller holds the reload lock.
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
	backends := make(heldBackends)
	undo = append(undo, backends.release)
	if err := backends.lock(ctx, services); err != nil {
		thaw()
		return nil, nil, err
	}
	for _, v := range services {
		open = append(open, v.mu.Unlock)
	}
	undo = append(undo, open...)
	lock := func(l sync.Locker) { l.Lock(); undo = append(undo, l.Unlock) }
	for _, x := range s.allSecrets() {
		lock(&x.mu)
	}
	if s.kernel != nil {
		lock(&s.kernel.turn)
	}
	resume, parked := s.parkWorkers(services)
	undo = append(undo, resume)
	select {
	case <-parked:
		return thaw, leave, nil
	case <-time.After(parkTime):
		thaw()
		return nil, nil, errors.New("a worker does not stop")
	}
}

// parkWorkers stops all workers between two batches, until resume; parked is closed when all have stopped.
func (s *Server) parkWorkers(services []*service) (resume func(), parked <-chan struct{}) {
	h := &hold{resume: make(chan struct{})}
	s.frozen.Store(true)
	for _, v := range services {
		h.parked.Add(len(v.workers))
		v.held.Store(h)
		for _, w := range v.workers {
			w.poller.Wake()
		}
	}
	done := make(chan struct{})
	go func() { h.parked.Wait(); close(done) }()
	return func() {
		for _, v := range services {
			v.held.Store(nil)
		}
		close(h.resume)
		for _, v := range services {
			for _, w := range v.workers {
				w.alive.Store(s.clock()) // they will run again soon
			}
		}
		s.frozen.Store(false)
	}, done
}

// enrol adds a back end that was opened.
func (v *service) enrol(e *liveBackend) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = append(v.live, e)
}

// strike removes a back end that was closed.
func (v *service) strike(e *liveBackend) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = slices.DeleteFunc(v.live, func(o *liveBackend) bool { return o == e })
}

// UpgradeCounts counts upgrades by how they ended.
type UpgradeCounts struct {
	Done   uint64 `json:"done"`
	Failed uint64 `json:"failed"`
}

// upgradeCounters counts upgrades.
type upgradeCounters struct{ done, failed atomic.Uint64 }

func (c *upgradeCounters) load() UpgradeCounts { return UpgradeCounts{c.done.Load(), c.failed.Load()} }
