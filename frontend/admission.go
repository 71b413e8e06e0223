package frontend

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// denied is what a datagram is to a worker whose sender is on the deny list.
const denied = hello.ReasonLen

// openAddresses makes what the gates of all services share.
func (s *Server) openAddresses() (err error) {
	c := &s.config
	var seed [8]byte
	rand.Read(seed[:]) // crashes rather than fail
	s.set = addresses.NewSet(binary.NativeEndian.Uint64(seed[:]), uint32(c.AddressLifetime.Seconds()))
	s.lists, err = addresses.OpenLists(c.AllowFile, c.DenyFile, c.Log, nil)
	return err
}

// newGate makes the gate of one service.
func (s *Server) newGate() *addresses.Gate {
	rate := limit.Rate{PerSecond: s.config.EngageRate, Burst: max(1, int(s.config.EngageRate))} // a second's worth
	return addresses.NewGate(s.set, s.lists.Table(), addresses.Policy{Engage: s.config.Engage, Rate: rate})
}

// monotonic is the time of CLOCK_MONOTONIC, in nanoseconds: addresses are kept in memory that the XDP programs share,
// which know no other.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // every kernel knows it
	return t.Nano()
}

// first decides on a ClientHello that its mode verified without a cookie, and reports whether that is all: the client may
// be sending the one again that opened its flow. If it is another one, and the flow's handshake is under way, the client
// must show that it is there just now: its address alone, which anybody can write, must not end that.
func (w *worker) first(slot int, to *hand, h *handoff.Hello) bool {
	f := w.flows.Lookup(w.in.Route(slot).Peer())
	switch {
	case f == nil:
	case w.repeated(f, slot, h):
		return true
	case f.State == relay.HalfOpen && to.mode() == handoff.Reset:
		h.Challenge(w.serving.keys.Load())
		return false
	}
	w.counts.Count(admittedAs(h))
	return false
}

func admittedAs(h *handoff.Hello) metrics.Event {
	if h.Unproved {
		return metrics.AdmittedUnproved
	}
	return metrics.AdmittedKnown
}

// keepAddresses refreshes the addresses of flows that were used since it last did: eight times in a lifetime, which is
// seldom enough to walk all of them.
func (w *worker) keepAddresses() {
	if since := w.kept; w.now-since > int64(w.service.gate.Set.Lifetime())*1e9/8 {
		w.kept = w.now
		w.flows.UsedSince(since, func(f *relay.Flow) { w.service.gate.Keep(&f.Client.IP, w.now) })
	}
}

// act does what else than a HelloVerifyRequest a ClientHello gets.
func (w *worker) act(slot int, h *handoff.Hello) {
	switch h.Action {
	case handoff.ActionRetry:
		w.retry(slot, h)
	case handoff.ActionReset:
		w.reset(slot, h)
	default:
		w.counts.Count(refusals[h.Action])
	}
}

var refusals = [...]metrics.Event{
	handoff.ActionDenied: metrics.Denied, handoff.ActionLimited: metrics.HelloLimit,
	handoff.ActionNoRetry: metrics.NoRetry, handoff.ActionBadRetry: metrics.BadRetry,
}

// retry answers with a HelloRetryRequest.
func (w *worker) retry(slot int, h *handoff.Hello) {
	if h.Length == 0 {
		w.counts.Count(metrics.NoRetry)
		return
	}
	d := w.in.Datagram(slot)
	h.Retry.Cookie = h.Answer[:h.Length]
	n := hello.PutRetry(d, &h.Retry)
	if n == 0 {
		w.counts.Count(metrics.TooShort)
		return
	}
	w.answers.Add(d[:n], w.in.Route(slot))
	w.counts.Count(metrics.Retried)
}

// reset notes the address of a client that has proved it, and has it begin again. A ClientHello that comes twice is
// answered once.
func (w *worker) reset(slot int, h *handoff.Hello) {
	d := w.in.Datagram(slot)
	mark := uint32(hello.SequenceOf(d).Record)
	for i := range 4 {
		mark ^= uint32(h.Random[i]) << (8 * i)
	}
	if !w.service.gate.Prove(&h.Binding.Source, mark, w.now) {
		w.counts.Count(metrics.ResetBefore)
		return
	}
	if old := w.flows.Lookup(w.in.Route(slot).Peer()); old != nil && old.State == relay.HalfOpen {
		w.unqueue(old)
		w.counts.Count(metrics.Replaced)
		w.end(old)
	}
	w.answers.Add(d[:hello.PutReset(d)], w.in.Route(slot))
	w.counts.Count(metrics.WasReset)
}
