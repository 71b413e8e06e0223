package frontend

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

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
	if w.fromPort != nil {
		w.sendAnswers(w.fromPort, w.answers)
	} else {
		w.sendAnswers(w.conn, w.answers)
	}
	w.sendAnswers(w.conn, w.admitted)
	for _, f := range w.touched {
		w.sendTo(f)
	}
	w.touched = w.touched[:0]
}

// sendAnswers sends a queue of answers.
func (w *worker) sendAnswers(by sender, q *udpbatch.Queue) {
	n := q.Len()
	if n == 0 {
		return
	}
	w.counts.Bytes(metrics.ToClients, q.Bytes())
	sent, _ := by.Send(q)
	w.counts.Add(metrics.AnswerSent, sent)
	w.counts.Add(metrics.AnswerFailed, n-sent)
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
