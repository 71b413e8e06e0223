package frontend

import (
	"errors"
	"unsafe"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// open opens a flow for a verified client and forwards its ClientHello, or counts why not. A half-open flow of the client ends;
// an established one lives until the new one is established.
func (w *worker) open(slot int, to *workerBackend, h *handoff.Hello) {
	route := w.in.Route(slot)
	if w.limited(h) {
		return
	}
	if old := w.flows.Lookup(route.Peer()); old != nil {
		if old.Rival() != nil {
			old = old.Rival()
		}
		if old.State == relay.HalfOpen || !old.Alone() {
			w.unqueue(old)
			w.end(old, metrics.Replaced)
		}
	}
	up, rank := w.reserve(to, h)
	if up == nil {
		if !h.Verified {
			w.answer(slot, h)
		}
		return
	}
	f := w.flows.Open(route, up, &h.ClientHello, rank, w.now)
	f.PreHandshake = handoff.PreHandshakeOf(to.verifier)
	if h.Unproved {
		f.Unprove()
	}
	if w.poller.Add(up.FD(), f.Event()) != nil {
		w.flows.Close(f)
		w.counts.Count(metrics.NoUpstream)
		return
	}
	f.Server = to.number
	to.flows++
	to.backend.HandshakeStarted()
	w.counts.Count(metrics.Started)
	if w.kernel != nil {
		w.kernel.admit(w.service, f.Client, true)
	}
	w.service.mapLog.opened(w, f)
	w.counts.Count(metrics.Verified)
	w.forward(f, slot)
}

// reserve reserves a flow and an upstream socket for a verified client, evicting an old flow if needed. On failure it counts
// why and returns nil. If another client uses the port of the client's cookie, or another program has had it for over a second,
// h gets a new cookie and is no longer verified.
func (w *worker) reserve(to *workerBackend, h *handoff.Hello) (up *relay.Upstream, rank int) {
	ip := &h.Binding.Source
	for attempt := range 2 {
		var r relay.Reason
		if rank, r = w.flows.Reserve(ip); r == relay.Accepted {
			var err error
			if up, err = w.upstream(to, h); err == nil && up != nil {
				return up, rank
			}
			w.flows.Return(ip)
			switch r = relay.ReasonOf(err); {
			case errors.Is(err, handoff.ErrPortBusy):
				w.counts.Count(metrics.PortTaken)
				return nil, 0
			case err == nil:
				w.counts.Count(metrics.PortTaken)
				h.Verified, h.Place, h.Length = false, handoff.Place{}, 0
				to.verifier.Verify(w.serving.keys.Load(), unsafe.Slice(h, 1))
				h.Verified = false
				return nil, 0
			case r == relay.Accepted:
				w.counts.Count(metrics.NoUpstream)
				return nil, 0
			}
		}
		if attempt > 0 || !r.Full() || !w.evict(r) {
			w.counts.Count(metrics.NoFlow(r))
			return nil, 0
		}
	}
	return nil, 0
}

// evict ends a flow to make room for a new client that was refused for reason r, and reports whether it found one.
func (w *worker) evict(r relay.Reason) bool {
	f := w.flows.Victim()
	if f == nil {
		return false
	}
	w.unqueue(f)
	w.end(f, metrics.Evicted(r))
	return true
}

// upstream opens the socket of a verified client's flow; nil if its port was taken since the verification.
func (w *worker) upstream(to *workerBackend, h *handoff.Hello) (*relay.Upstream, error) {
	if !h.Place.Given() {
		return to.backend.upstreams.Open(w.service.budget.Used())
	}
	up, err := h.Place.Open()
	if up != nil && !up.Fresh() {
		w.drain(up)
	}
	return up, err
}
