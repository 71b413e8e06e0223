package frontend

import (
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/capture"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// tap is a worker's side of a capture. Once stored, it belongs to that worker.
type tap struct {
	*recording
	wants       [metrics.EventLen]bool
	before      metrics.Snapshot
	sample      sample
	cost, burst int64 // ns of the bucket, of one sample and of all at once
}

func newTap(r *recording) *tap {
	t := &tap{recording: r, cost: int64(float64(time.Second) / r.options.Rate)}
	t.burst = int64(float64(t.cost) * captureBurst(r.options.Rate))
	for e := range t.wants {
		t.wants[e] = metrics.Labels[e].Stage == "client" && r.options.wants(eventOutcome(metrics.Event(e)))
	}
	return t
}

// room reports whether a sample may be taken.
func (t *tap) room(now int64) bool { return max(t.bucket.Load(), now)+t.cost <= now+t.burst }

// take takes a sample's token, if there is one.
func (t *tap) take(now int64) bool {
	for {
		old := t.bucket.Load()
		next := max(old, now) + t.cost
		if next > now+t.burst {
			return false
		}
		if t.bucket.CompareAndSwap(old, next) {
			return true
		}
	}
}

// tapped dispatches a datagram and samples it. It copies the datagram first, because an answer overwrites it; the event that
// was counted says what became of it. A fragment that waits for its first one is not sampled.
func (w *worker) tapped(t *tap, slot int) {
	if !t.room(w.now) {
		w.dispatchOne(slot)
		return
	}
	x, d := &t.sample, w.in.Datagram(slot)
	route, to := w.in.Route(slot), w.service.listen
	from := route.Peer().AddrPort()
	if local, ok := route.Local(); ok {
		to = netip.AddrPortFrom(netip.AddrFrom16(local), to.Port())
	}
	head := capture.PutHeaders(x.bytes[:], t.ethernet, from, to, len(d), d)
	x.n = head + copy(x.bytes[head:], d)
	x.length = head + len(d)
	x.datagram = datagramName(uint8(w.reasons[slot]))
	w.counts.Snapshot(&t.before)
	w.dispatchOne(slot)
	e, ok := w.counts.Risen(&t.before)
	if !ok || !t.wants[e] || !t.take(w.now) {
		return
	}
	x.at, x.origin, x.service, x.outcome = w.now, capture.Workers, w.service.name, eventOutcome(e)
	if !t.options.Payload {
		x.n = head + capture.Visible(x.bytes[head:x.n], x.outcome.verdict == relayed)
	}
	select {
	case t.queue <- *x:
	default:
		t.lost.Add(1)
	}
}
