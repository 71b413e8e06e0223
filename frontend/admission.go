package frontend

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// denied marks a datagram whose sender is on the deny list.
const denied = hello.ReasonLen

// openAddresses makes the address set and the lists that the gates of all services share.
func (s *Server) openAddresses() (err error) {
	c := &s.config
	lifetime := uint32(c.AddressLifetime.Seconds())
	if s.kernel == nil {
		var b [16]byte
		rand.Read(b[:]) // never fails: it crashes instead
		s.set = addresses.NewSet([2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}, lifetime)
		s.lists, err = addresses.OpenLists(c.AllowFile, c.DenyFile, c.Log, nil)
		return err
	}
	memory, key, err := s.kernel.guard.Addresses()
	if err == nil {
		err = s.kernel.guard.SetAddressLifetime(c.AddressLifetime)
	}
	if err != nil {
		return err
	}
	if err := s.kernel.guard.TrustTCP(c.TrustTCP); err != nil {
		return err
	}
	s.set = addresses.SetOf(memory, key, lifetime)
	s.lists, err = addresses.OpenLists(c.AllowFile, c.DenyFile, c.Log, s.kernel.setPrefixes)
	return err
}

// setPrefixes copies all lists to the XDP programs.
func (k *kernel) setPrefixes(rules map[netip.Prefix]addresses.Verdict) error {
	denied := make(map[netip.Prefix]bool, len(rules))
	for p, v := range rules {
		denied[p] = v == addresses.Deny
	}
	return k.guard.SetPrefixes(denied)
}

// policy returns the policy of all services' gates.
func (c *Config) policy() addresses.Policy {
	rate := limit.Rate{PerSecond: c.EngageRate, Burst: max(1, int(c.EngageRate))} // the tokens of one second
	return addresses.Policy{Engage: c.Engage, Rate: rate}
}

// admission is how the programs admit first ClientHellos to a service with mode m and a server of versions.
func (c *Config) admission(m handoff.Mode, serves handoff.Versions) bpf.Admission {
	rate := func(r limit.Rate) bpf.Rate { return bpf.Rate{PerSecond: r.PerSecond, Burst: uint32(r.Burst)} }
	p := c.policy()
	return bpf.Admission{
		Reset: m == handoff.Reset, Limit: m == handoff.Limit, Load: m == handoff.Reset && p.Engage == addresses.Load,
		DTLS12: serves&handoff.Serves12 != 0, DTLS13: serves&handoff.Serves13 != 0,
		Rate: rate(p.Rate), Share: rate(p.Share()),
	}
}

// newGate makes the gate of one service. Inline, the XDP programs see each ClientHello first, and workers get those that are to be
// challenged.
func (s *Server) newGate(inline bool) *addresses.Gate {
	p := s.config.policy()
	p.Challenged = inline
	return addresses.NewGate(s.set, s.lists.Table(), p)
}

// monotonic returns CLOCK_MONOTONIC in nanoseconds, the only clock that the XDP programs can read: they share the memory of
// addresses.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // every kernel has this clock
	return t.Nano()
}

// first handles a ClientHello that was verified without a cookie, by its address, and reports whether nothing is left to do. It
// may be a retransmission of the one that opened the flow. If it is another one during a handshake, the client must prove its
// address again: a spoofed source must not end that handshake.
func (w *worker) first(slot int, to *workerBackend, h *handoff.Hello) bool {
	f := w.flows.Lookup(w.in.Route(slot).Peer())
	switch {
	case f == nil:
	case w.repeated(f, slot, h):
		return true
	case f.State == relay.HalfOpen && to.mode() == handoff.Reset:
		h.Challenge(w.serving.keys.Load(), w.service.config.MAC)
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

// keepAddresses refreshes the addresses of flows used since the last call. Eight times per lifetime is seldom enough to walk
// all flows.
func (w *worker) keepAddresses() {
	if since := w.kept; w.now-since > int64(w.service.gate.Set.Lifetime())*1e9/8 {
		w.kept = w.now
		w.flows.UsedSince(since, w.keep)
	}
}

// keep refreshes or remembers the address of f's client, if it is proved.
func (w *worker) keep(f *relay.Flow) {
	if !f.Unproved() {
		w.service.gate.Keep(&f.Client.IP, w.now)
	}
}

// act answers a ClientHello by anything other than a HelloVerifyRequest.
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

// reset records the address of a client that has proved it, and makes the client start over. A ClientHello that arrives twice
// is answered once.
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
		w.end(old, metrics.Replaced)
	}
	w.answers.Add(d[:hello.PutReset(d)], w.in.Route(slot))
	w.counts.Count(metrics.WasReset)
}
