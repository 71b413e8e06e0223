package frontend

import (
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// fromClients serves what has arrived, up to a burst of full batches.
func (w *worker) fromClients() {
	for range burst {
		w.in.Reset()
		n, err := w.conn.Recv(w.in)
		w.backlog = n == w.in.Cap()
		if err != nil || n == 0 {
			w.grant(0)
			// An error here is an ICMP message about an earlier answer: there is nobody to report it to.
			return
		}
		w.now = w.service.clock()
		w.follow()
		w.counts.Filled(n)
		w.grant(w.classify())
		w.dispatch()
		w.send()
		if !w.backlog {
			return
		}
	}
}

// grant lets XDP send as many ClientHellos again as the worker has taken. Other datagrams, those of a proxy's flows, come without
// credit.
func (w *worker) grant(hellos int) {
	if w.credit == nil {
		return
	}
	w.credit.Grant(hellos)
	if !w.backlog { // the socket is empty
		w.credit.Refill(creditBudget)
	}
}

// classify parses the batch and has all ClientHellos of a back end verified together, which fills the lanes of the cookie
// computation. It returns how many there are.
func (w *worker) classify() (hellos int) {
	for _, h := range w.active {
		h.hellos, h.next = h.hellos[:0], 0
	}
	port, listed, bytes := w.service.port, w.service.gate.Table.Load(), 0
	for i := range w.in.Len() {
		if w.service.inline {
			bpf.Unassign(w.in.Datagram(i))
		}
		peer := w.in.Route(i).Peer()
		bytes += len(w.in.Datagram(i))
		if !listed.Empty() && listed.Of(&peer.IP) == addresses.Deny {
			w.reasons[i] = denied
			continue
		}
		// The element past the end is scratch until the datagram turns out to be a ClientHello.
		to := w.active[0]
		h := to.scratch()
		w.reasons[i] = hello.Parse(w.in.Datagram(i), &h.ClientHello)
		if w.reasons[i] != hello.OK {
			continue
		}
		hellos++
		if len(w.active) > 1 {
			to = w.forClient(&peer.IP)
			parsed := h.ClientHello
			h = to.scratch()
			h.ClientHello = parsed
		}
		h.Binding.Source, h.Binding.SourcePort = peer.IP, peer.Port
		h.Binding.DestinationPort = port
		h.Binding.Version, h.Binding.Random = h.Version, h.Random
		h.Verified, h.Place, h.Length, h.Action, h.Unproved = false, handoff.Place{}, 0, 0, false
		to.hellos = to.hellos[:len(to.hellos)+1]
		w.by[i] = to
	}
	w.counts.Bytes(metrics.FromClients, bytes)
	keys := w.serving.keys.Load()
	for _, h := range w.active {
		if h.verifier != nil {
			h.verifier.Verify(keys, h.hellos)
		}
	}
	return hellos
}

// dispatch handles the datagrams in the order of arrival, because the second fragment of a verified ClientHello may follow the
// first directly. A fragment that overtook the first is tried again at the end of the batch, and no later: nothing is stored
// for unverified clients.
func (w *worker) dispatch() {
	t := w.tap.Load()
	for i := range w.in.Len() {
		if t != nil {
			w.tapped(t, i)
		} else {
			w.dispatchOne(i)
		}
	}
	for _, i := range w.early {
		w.relayed(w.flows.Lookup(w.in.Route(i).Peer()), i, hello.LaterFragment)
	}
	w.early = w.early[:0]
}

// dispatchOne handles datagram i.
func (w *worker) dispatchOne(i int) {
	switch r := w.reasons[i]; {
	case r == denied:
		w.counts.Count(metrics.Denied)
		w.sample(i)
	case r >= hello.Malformed:
		w.counts.Count(metrics.Dropped(r))
		w.sample(i)
	case r == hello.OK:
		w.sample(i) // few of them are good during a flood
		to := w.by[i]
		to.next++
		w.hello(i, to, &to.hellos[to.next-1])
	default:
		if f := w.flows.Lookup(w.in.Route(i).Peer()); f != nil || r != hello.LaterFragment {
			w.relayed(f, i, r)
		} else {
			w.early = append(w.early, i)
		}
	}
}

// relayed forwards a datagram that is not a ClientHello for flow f, or drops it if f is nil.
func (w *worker) relayed(f *relay.Flow, i int, r hello.Reason) {
	if f == nil {
		w.counts.Count(metrics.Dropped(r))
		w.sample(i)
		return
	}
	w.relay(f, i, r)
	w.counts.Count(metrics.Relayed)
}

// sample records the source of one in many unverified datagrams.
func (w *worker) sample(slot int) {
	if w.sketch.Due() {
		peer := w.in.Route(slot).Peer()
		w.sketch.Take(&peer.IP)
	}
}

// hello answers a ClientHello, or opens a flow for it.
func (w *worker) hello(slot int, to *workerBackend, h *handoff.Hello) {
	if h.Verified && len(h.Cookie) == 0 && w.first(slot, to, h) {
		return
	}
	if len(h.Cookie) > 0 || h.Action == handoff.ActionLimited {
		// Rare compared with a flood, and the only case that needs a flow lookup: the client may be retransmitting the
		// ClientHello that opened its flow.
		if f := w.flows.Lookup(w.in.Route(slot).Peer()); f != nil && w.repeated(f, slot, h) {
			return
		}
	}
	if h.Verified && w.service.inline {
		w.admit(slot, h)
		return
	}
	if h.Verified {
		w.open(slot, to, h)
		return
	}
	if h.Action != handoff.ActionVerify {
		w.act(slot, h)
		return
	}
	w.answer(slot, h)
}

// answer sends a cookie to an unverified client.
func (w *worker) answer(slot int, h *handoff.Hello) {
	if h.Length == 0 {
		w.counts.Count(metrics.NoCookie)
		return
	}
	d := w.in.Datagram(slot)
	n := hello.PutHelloVerify(d, h.Answer[:h.Length])
	if n == 0 {
		w.counts.Count(metrics.TooShort)
		return
	}
	w.answers.Add(d[:n], w.in.Route(slot))
	if len(h.Cookie) > 0 {
		w.counts.Count(metrics.WrongCookie)
	} else {
		w.counts.Count(metrics.Answered)
	}
}

// admit lets a verified client through to a server that keeps its port. XDP could not verify this ClientHello, because it does
// not know the cookies or the secret was rotated meanwhile. The worker sends it to the client's address; the egress program
// reinjects it towards the server as if the client had sent it. Later datagrams of the client pass XDP.
func (w *worker) admit(slot int, h *handoff.Hello) {
	if w.limited(h) {
		return
	}
	if !w.kernel.admit(w.service, w.in.Route(slot).Peer(), len(h.Cookie) > 0) {
		w.counts.Count(metrics.NoFlow(relay.SourceHalfOpen))
		return
	}
	w.admitted.Add(w.in.Datagram(slot), w.in.Route(slot))
	w.counts.Count(metrics.Verified)
}

// limited reports whether a verified ClientHello exceeds a rate limit, and counts it.
func (w *worker) limited(h *handoff.Hello) bool {
	switch w.serving.hellos.Take(&h.Binding.Source, h.Binding.SourcePort, w.now) {
	case limit.OverSource:
		w.counts.Count(metrics.SourceRate)
	case limit.OverService:
		w.counts.Count(metrics.ServiceRate)
	default:
		return false
	}
	return true
}
