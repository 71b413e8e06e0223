package frontend

import (
	"slices"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// hand is a worker's side of one back end: what it computes cookies with, and the ClientHellos of a batch that go there.
type hand struct {
	number   int32
	end      *end             // nil inline, and where there is no back end
	fit      handoff.Mode     // inline
	verifier handoff.Verifier // nil: nobody can be verified at the moment
	hellos   []handoff.Hello
	next     int  // of hellos, in dispatch
	flows    int  // that are open
	left     bool // it gets no new clients
	heard    bool // the server said something since the last sweep
}

// follow makes the hands those of what the service goes by now. Almost always that is nothing to do.
func (w *worker) follow() {
	for s := w.service.now.Load(); s != w.serving; s = w.service.now.Load() {
		w.turnTo(s)
	}
}

// turnTo makes the hands those of s.
func (w *worker) turnTo(s *serving) {
	before := w.active
	w.active = nil
	size := w.service.config.Batch
	for _, e := range s.ends {
		if h := w.handTo(e); h != nil {
			w.active = append(w.active, h)
		} else if e.hold() { // else it has just been dropped, and s is no longer in force
			w.add(&hand{end: e, verifier: e.NewVerifier(size)})
		}
	}
	if s.fit != nil {
		w.add(&hand{verifier: handoff.NewInline(*s.fit, w.service.handoffConfig(s), size), fit: s.fit.Mode})
	}
	if len(w.active) == 0 {
		w.add(&hand{})
	}
	for _, h := range before {
		if !slices.Contains(w.active, h) {
			h.left = true
			w.drop(h)
		}
	}
	w.serving = s
}

// handTo finds the hand of a back end that the worker has one for.
func (w *worker) handTo(e *end) *hand {
	for _, h := range w.hands {
		if h != nil && h.end == e {
			return h
		}
	}
	return nil
}

// add makes h an active hand with a number of its own.
func (w *worker) add(h *hand) {
	h.hellos = make([]handoff.Hello, 0, w.service.config.Batch)
	free := slices.Index(w.hands, nil)
	if free < 0 {
		free = len(w.hands)
		w.hands = append(w.hands, nil)
	}
	h.number = int32(free)
	w.hands[free] = h
	w.active = append(w.active, h)
}

// drop gives a hand back that gets no new clients, once its last flow has ended.
func (w *worker) drop(h *hand) {
	if h == nil || !h.left || h.flows > 0 {
		return
	}
	w.hands[h.number] = nil
	if h.end != nil {
		h.end.release()
	}
}

// mode is how its clients are handed over at the moment.
func (h *hand) mode() handoff.Mode {
	if h.end != nil {
		return h.end.Mode()
	}
	return h.fit
}

// scratch is the place of the next ClientHello.
func (h *hand) scratch() *handoff.Hello { return &h.hellos[:len(h.hellos)+1][len(h.hellos)] }

// handOf is the hand of several that a client at ip is for.
func (w *worker) handOf(ip *[16]byte) *hand {
	var best, fallback *hand
	var high, higher float64
	for _, h := range w.active {
		s := h.end.score(ip)
		if fallback == nil || s > higher {
			fallback, higher = h, s
		}
		if h.end.Ready() && (best == nil || s > high) {
			best, high = h, s
		}
	}
	if best == nil {
		return fallback
	}
	return best
}
