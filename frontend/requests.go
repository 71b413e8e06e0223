package frontend

import (
	"context"
	"errors"
	"sync"
	"time"
)

// requests are functions that a worker calls for others between two batches, on its own thread, so that they may access the
// worker's state. The zero value must be initialised.
type requests struct {
	queue  chan func()
	mu     sync.Mutex // held while one is queued, so that the worker is woken before it closes
	closed bool
}

// requestPatience bounds the wait for a worker: it is woken, and a batch takes a millisecond.
const requestPatience = 2 * time.Second

var (
	errEnded = errors.New("the service has ended")
	errBusy  = errors.New("a worker does not answer")
)

// init makes room for as many requests as there are connections that ask.
func (r *requests) init() { r.queue = make(chan func(), AdminConnections) }

// serve calls the queued functions.
func (r *requests) serve() {
	for {
		select {
		case f := <-r.queue:
			f()
		default:
			return
		}
	}
}

// close refuses all further requests.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// ask makes the worker call f and waits for it. After an error f may still be called: it must own what it writes to.
func (w *worker) ask(ctx context.Context, f func()) error {
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	done := make(chan struct{})
	if err := w.enqueue(func() { f(); close(done) }); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-w.service.stop:
		return errEnded
	case <-ctx.Done():
		return errBusy
	}
}

func (w *worker) enqueue(f func()) error {
	r := &w.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errEnded
	}
	select {
	case r.queue <- f:
		w.poller.Wake()
		return nil
	default:
		return errBusy
	}
}
