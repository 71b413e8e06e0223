package frontend

import (
	"slices"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// workerBackend is a worker's side of one back end: what it computes cookies with, and the ClientHellos of a batch that go there.
type workerBackend struct {
	number   int32
	backend  *liveBackend     // nil inline, and where there is no back end
	fit      handoff.Mode     // inline
	verifier handoff.Verifier // nil: nobody can be verified at the moment
	hellos   []handoff.Hello
	next     int  // of hellos, in dispatch
	flows    int  // that are open
	left     bool // it gets no new clients
	heard    bool // the server said something since the last sweep
}

// follow brings the back ends up to what is in force for the service. Almost always there is nothing to do.
func (w *worker) follow() {
	for s := w.service.now.Load(); s != w.serving; s = w.service.now.Load() {
		w.setServing(s)
	}
}

// setServing takes over the back ends of s.
func (w *worker) setServing(s *serving) {
	before := w.active
	w.active = nil
	size := w.service.config.Batch
	for _, e := range s.backends {
		if h := w.forBackend(e); h != nil {
			w.active = append(w.active, h)
		} else if e.hold() { // else it has just been dropped, and s is no longer in force
			w.add(&workerBackend{backend: e, verifier: e.NewVerifier(size)})
		}
	}
	if s.fit != nil && !s.draining {
		w.add(&workerBackend{verifier: handoff.NewInline(*s.fit, w.service.handoffConfig(s), size), fit: s.fit.Mode})
	}
	if len(w.active) == 0 {
		w.add(&workerBackend{})
	}
	for _, h := range before {
		if !slices.Contains(w.active, h) {
			h.left = true
			w.drop(h)
		}
	}
	w.serving = s
}

// forBackend finds the worker's side of a back end, nil if it has none yet.
func (w *worker) forBackend(e *liveBackend) *workerBackend {
	for _, h := range w.backends {
		if h != nil && h.backend == e {
			return h
		}
	}
	return nil
}

// add makes h active, with a number of its own.
func (w *worker) add(h *workerBackend) {
	h.hellos = make([]handoff.Hello, 0, w.service.config.Batch)
	free := slices.Index(w.backends, nil)
	if free < 0 {
		free = len(w.backends)
		w.backends = append(w.backends, nil)
	}
	h.number = int32(free)
	w.backends[free] = h
	w.active = append(w.active, h)
}

// drop releases a back end that gets no new clients, once its last flow has ended.
func (w *worker) drop(h *workerBackend) {
	if h == nil || !h.left || h.flows > 0 {
		return
	}
	w.backends[h.number] = nil
	if h.backend != nil {
		h.backend.release()
	}
}

// mode is how its clients are handed over at the moment.
func (h *workerBackend) mode() handoff.Mode {
	if h.backend != nil {
		return h.backend.Mode()
	}
	return h.fit
}

// scratch is the place of the next ClientHello.
func (h *workerBackend) scratch() *handoff.Hello { return &h.hellos[:len(h.hellos)+1][len(h.hellos)] }

// forClient picks, of several, the back end of a client at ip.
func (w *worker) forClient(ip *[16]byte) *workerBackend {
	var best, fallback *workerBackend
	var high, higher float64
	for _, h := range w.active {
		s := h.backend.score(ip)
		if fallback == nil || s > higher {
			fallback, higher = h, s
		}
		if h.backend.Ready() && (best == nil || s > high) {
			best, high = h, s
		}
	}
	if best == nil {
		return fallback
	}
	return best
}
