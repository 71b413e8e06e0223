package frontend

import (
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
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
			// An error here is an ICMP message about some earlier answer: nobody to tell.
			return
		}
		w.now = w.service.clock()
		w.counts.Filled(n)
		w.judge()
		w.dispatch()
		w.send()
		if n < w.in.Cap() {
			return
		}
	}
}

// judge parses the batch and gets a verdict on each ClientHello: fill the lanes, compute once.
func (w *worker) judge() {
	w.hellos = w.hellos[:0]
	port := w.service.port
	for i := range w.in.Len() {
		// The element past the end is scratch until the datagram turns out to be a ClientHello.
		h := &w.hellos[:len(w.hellos)+1][len(w.hellos)]
		w.what[i] = hello.Parse(w.in.Datagram(i), &h.ClientHello)
		if w.what[i] != hello.OK {
			continue
		}
		peer := w.in.Route(i).Peer()
		h.Binding.Source, h.Binding.SourcePort = peer.IP, peer.Port
		h.Binding.DestinationPort = port
		h.Binding.Version, h.Binding.Random = h.Version, h.Random
		h.Verified, h.Port, h.Length = false, nil, 0
		w.hellos = w.hellos[:len(w.hellos)+1]
	}
	w.mode.Verify(w.service.keys.Load(), w.hellos)
}

// dispatch does with each datagram what its verdict says, in the order of arrival: the second fragment of a
// verified ClientHello may stand right behind the first.
func (w *worker) dispatch() {
	hellos := w.hellos
	for i := range w.in.Len() {
		switch r := w.what[i]; {
		case r >= hello.Malformed:
			w.counts.Count(metrics.Dropped(r))
		case r == hello.OK:
			w.hello(i, &hellos[0])
			hellos = hellos[1:]
		default:
			f := w.flows.Lookup(w.in.Route(i).Peer())
			if f == nil {
				w.counts.Count(metrics.Dropped(r))
				continue
			}
			w.forward(f, i)
			w.counts.Count(metrics.Relayed)
		}
	}
}

// hello answers a ClientHello, or opens a flow for it.
func (w *worker) hello(slot int, h *handoff.Hello) {
	if len(h.Cookie) > 0 {
		// Rare against the flood, and only here is a look at the flows needed: the client may be sending the
		// ClientHello again that opened its flow.
		if f := w.flows.Lookup(w.in.Route(slot).Peer()); f != nil && f.Repeats(&h.ClientHello) {
			w.forward(f, slot)
			w.counts.Count(metrics.Relayed)
			return
		}
		if h.Verified && w.service.inline {
			w.admit(slot, h)
			return
		}
		if h.Verified {
			w.open(slot, h)
			return
		}
	}
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

// admit lets a verified client through to a server that keeps its port. XDP could not verify this ClientHello: it does
// not know the cookies, or a rotation came in between. Sent to the client, it is turned round where answers get the
// service's port, and goes to the server as if it came from the client; what the client sends after it passes XDP.
func (w *worker) admit(slot int, h *handoff.Hello) {
	if w.limited(h) {
		return
	}
	w.kernel.admit(w.service, w.in.Route(slot).Peer())
	w.answers.Add(w.in.Datagram(slot), w.in.Route(slot))
	w.counts.Count(metrics.Verified)
}

// limited reports whether a verified client is one too many at the moment, and counts it.
func (w *worker) limited(h *handoff.Hello) bool {
	switch {
	case !w.service.sources.Take(&h.Binding.Source, w.now):
		w.counts.Count(metrics.SourceRate)
	case !w.service.all.Take(w.service.config.BackendHelloRate, w.now):
		w.counts.Count(metrics.ServiceRate)
	default:
		return false
	}
	return true
}

// open opens a flow for a verified client and forwards its ClientHello, or counts why not. The client's old
// flow, if there is one, ends only here, where the new one has proved its address (RFC 6347 section 4.2.8).
func (w *worker) open(slot int, h *handoff.Hello) {
	route := w.in.Route(slot)
	if w.limited(h) {
		return
	}
	if old := w.flows.Lookup(route.Peer()); old != nil {
		w.unqueue(old)
		w.end(old)
	}
	if w.flows.Full() {
		f := w.flows.Stalest()
		if f == nil || f.Pending[0] >= 0 {
			w.counts.Count(metrics.NoFlow)
			return
		}
		w.end(f)
	}
	port := w.port(h)
	if port == nil {
		w.counts.Count(metrics.NoPort)
		return
	}
	f := w.flows.Open(route, port, &h.ClientHello, w.now)
	f.Prelude = handoff.PreludeOf(w.mode)
	if w.poller.Add(port.FD(), f.Event()) != nil {
		w.flows.Close(f)
		w.counts.Count(metrics.NoPort)
		return
	}
	f.Shaking = relay.Server | relay.Client
	w.service.backend.Opened()
	if w.kernel != nil {
		w.kernel.admit(w.service, f.Client)
	}
	w.counts.Count(metrics.Verified)
	w.forward(f, slot)
}

// port gets the port that a verified client's flow goes through, nil if there is none to be had.
func (w *worker) port(h *handoff.Hello) *relay.Upstream {
	if h.Port == nil {
		port, err := relay.OpenUpstream(w.service.backend.Server(), nil)
		if err != nil {
			return nil
		}
		return port
	}
	if !h.Port.Acquire() {
		return nil // another client took it since the verdict
	}
	w.drain(h.Port)
	return h.Port
}

// forward queues a slot for f's server, or lets the flow's prelude have it.
func (w *worker) forward(f *relay.Flow, slot int) {
	if f.Prelude != nil && f.State == relay.Opening {
		f.Prelude.Client(w.in.Datagram(slot), w.prelude)
		w.sendOff(f, w.prelude)
		w.flows.Touch(f, f.State, w.now)
		return
	}
	if f.Shaking != 0 && hello.IsProtected(w.in.Datagram(slot)) {
		w.ended(f, relay.Client)
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
	w.flows.Touch(f, after(f.State, w.in.Datagram(slot), relay.Opening), w.now)
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

// send sends the answers with one system call, and what is for servers with one per flow.
func (w *worker) send() {
	if n := w.answers.Len(); n > 0 {
		w.conn.SendWhole(true)
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
	sent, err := f.Port.Send(q)
	w.counts.Add(metrics.ForwardSent, sent)
	w.counts.Add(metrics.ForwardFailed, n-sent)
	if err != nil {
		w.service.backend.Suspect(handoff.Unanswered)
	}
}
