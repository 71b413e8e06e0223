package frontend

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// fromClients serves what has arrived, up to a burst of full batches.
func (w *worker) fromClients() {
	for range burst {
		w.in.Reset()
		n, err := w.conn.Recv(w.in)
		if w.credit != nil {
			w.credit.Grant(n)
			if n < w.in.Cap() { // the socket is empty
				w.credit.Refill(creditBudget)
			}
		}
		if err != nil || n == 0 {
			// An error here is an ICMP message about an earlier answer: there is nobody to report it to.
			return
		}
		w.now = w.service.clock()
		w.follow()
		w.counts.Filled(n)
		w.classify()
		w.dispatch()
		w.send()
		if n < w.in.Cap() {
			return
		}
	}
}

// classify parses the batch and has all ClientHellos of a back end verified together, which fills the lanes of the cookie
// computation.
func (w *worker) classify() {
	for _, h := range w.active {
		h.hellos, h.next = h.hellos[:0], 0
	}
	port, listed, bytes := w.service.port, w.service.gate.Table.Load(), 0
	for i := range w.in.Len() {
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
	w.kernel.admit(w.service, w.in.Route(slot).Peer())
	w.answers.Add(w.in.Datagram(slot), w.in.Route(slot))
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

// repeated forwards h if it is a retransmission of the ClientHello that opened f or its rival. Each takes a token, because it
// costs the server as much as the first.
func (w *worker) repeated(f *relay.Flow, slot int, h *handoff.Hello) bool {
	if !f.Repeats(&h.ClientHello) {
		if f = f.Rival(); f == nil || !f.Repeats(&h.ClientHello) {
			return false
		}
	}
	if !w.limited(h) {
		w.forward(f, slot)
		w.counts.Count(metrics.Relayed)
	}
	return true
}

// relay forwards a datagram of a client that has two flows, see RFC 6347 section 4.2.8: the older one lives until the handshake
// of the newer one is finished. Plaintext records belong to the handshake. Protected records may belong to either flow and go
// to both; a server drops those that are not its own.
func (w *worker) relay(f *relay.Flow, slot int, r hello.Reason) {
	rival := f.Rival()
	switch {
	case rival == nil || r == hello.NotDTLS:
		w.forward(f, slot)
		return
	case r == hello.Encrypted:
		w.forward(f, slot)
		w.unqueue(f) // a slot is in one flow's chain at a time
	}
	w.forward(rival, slot)
}

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
		w.kernel.admit(w.service, f.Client)
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

// forward queues a datagram of the batch for f's server, or passes it to the flow's pre-handshake.
func (w *worker) forward(f *relay.Flow, slot int) {
	d := w.in.Datagram(slot)
	f.ToServer.Count(len(d))
	if f.PreHandshake != nil && !f.Answered() {
		f.PreHandshake.Client(d, w.preHandshake)
		w.sendOff(f, w.preHandshake)
		w.flows.KeepAlive(f, w.now)
		return
	}
	s := int32(slot)
	w.next[s] = -1
	if f.Pending[0] < 0 {
		f.Pending = [2]int32{s, s}
		w.touched = append(w.touched, f)
	} else {
		w.next[f.Pending[1]] = s
		f.Pending[1] = s
	}
	w.flows.FromClient(f, d, w.now)
	f.ClientSpoke = true
	if f.Handshaking {
		w.handshakeOver(f)
	}
}

// unqueue sends what f has pending, because it is about to end.
func (w *worker) unqueue(f *relay.Flow) {
	if f.Pending[0] < 0 {
		return
	}
	w.sendTo(f)
	for i, t := range w.touched {
		if t == f {
			w.touched[i] = w.touched[len(w.touched)-1]
			w.touched = w.touched[:len(w.touched)-1]
			return
		}
	}
}

// send sends all answers with one system call, and forwarded datagrams with one per flow.
func (w *worker) send() {
	if n := w.answers.Len(); n > 0 {
		w.counts.Bytes(metrics.ToClients, w.answers.Bytes())
		sent, _ := w.conn.Send(w.answers)
		w.counts.Add(metrics.AnswerSent, sent)
		w.counts.Add(metrics.AnswerFailed, n-sent)
	}
	for _, f := range w.touched {
		w.sendTo(f)
	}
	w.touched = w.touched[:0]
}

func (w *worker) sendTo(f *relay.Flow) {
	for s := f.Pending[0]; s >= 0; s = w.next[s] {
		w.forwards.Add(w.in.Datagram(int(s)), nil)
	}
	f.Pending = [2]int32{-1, -1}
	w.sendOff(f, w.forwards)
}

// sendOff sends a queue to f's server.
func (w *worker) sendOff(f *relay.Flow, q *udpbatch.Queue) {
	n := q.Len()
	if n == 0 {
		return
	}
	w.counts.Bytes(metrics.ToServers, q.Bytes())
	sent, err := f.Upstream.Send(q)
	w.counts.Add(metrics.ForwardSent, sent)
	w.counts.Add(metrics.ForwardFailed, n-sent)
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		w.backends[f.Server].backend.Recheck(handoff.Gone)
	case err != nil:
		w.backends[f.Server].backend.Recheck(handoff.Unanswered)
	}
}
