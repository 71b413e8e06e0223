package frontend

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// fromServer takes one batch of what the server sent to f's client.
func (w *worker) fromServer(f *relay.Flow) {
	if w.back.Len() == w.back.Cap() {
		w.flushReturns()
	}
	first := w.back.Len()
	n, err := f.Upstream.Recv(w.back)
	server := w.backends[f.Server]
	if n > 0 {
		server.heard = true
		f.Upstream.Confirm()
	}
	if errors.Is(err, unix.ECONNREFUSED) {
		w.counts.Count(metrics.ServerRefused)
		server.backend.Recheck(handoff.Gone)
	}
	for i := first; i < first+n; i++ {
		d := w.back.Datagram(i)
		w.counts.Bytes(metrics.FromServers, len(d))
		if c, ok := hello.HelloVerifyCookie(d); ok {
			switch w.verify(f, d, c) {
			case relay.Deliver:
				w.flows.KeepAlive(f, w.now)
				w.queueReturn(i, f)
			case relay.Swallow:
				w.counts.Count(metrics.ServerVerify)
			case relay.Refusal:
				w.counts.Count(metrics.ServerVerify)
				server.backend.Recheck(w.refusal(f))
				w.end(f, metrics.Refused) // so that the client's next ClientHello is verified anew
				return
			}
			continue
		}
		if !f.Answered() && hello.IsPlain(d) {
			w.checkFirstAnswer(server, d)
		}
		unproved := f.Unproved()
		if w.flows.FromServer(f, d, w.now); unproved {
			w.keep(f)
		}
		if f.PreHandshake != nil && hello.IsPlain(d) {
			f.PreHandshake.Server(d)
		}
		w.queueReturn(i, f)
		if f.Handshaking {
			w.handshakeOver(f)
		}
	}
	if old := f.Replaces(); old != nil {
		w.unqueue(old)
		w.end(old, metrics.Replaced)
	}
}

// checkFirstAnswer has the back end rechecked if d, its first answer to a verified client, may be a refusal. In DTLS 1.3 a
// cookie that a server cannot have made gets illegal_parameter, one made for another suite a HelloRetryRequest.
func (w *worker) checkFirstAnswer(server *workerBackend, d []byte) {
	alert := hello.IsAlert(d)
	_, retry := hello.ReadRetry(d)
	switch {
	case server.mode().Native() && (retry || hello.IsIllegalParameter(d)):
		server.backend.Recheck(handoff.Refused)
	case alert:
		server.backend.Recheck(handoff.Unanswered)
	}
}

// refusedSoon is how soon after a flow's ClientHello the server refuses a cookie that it does not know: later it may answer a
// ClientHello that the client has repeated (RFC 6347 section 4.2.4.1: after a second), whose cookie has become too old meanwhile.
const refusedSoon = time.Second

// refusal says what a refusal of f's cookie is a symptom of.
func (w *worker) refusal(f *relay.Flow) handoff.Symptom {
	if w.now-f.Born < int64(refusedSoon) {
		return handoff.Refused
	}
	return handoff.Unanswered
}

// verify says what becomes of d, a HelloVerifyRequest with cookie c from f's server.
func (w *worker) verify(f *relay.Flow, d, c []byte) relay.Verdict {
	switch {
	case f.Answered() || f.PreHandshake == nil && string(c) == string(f.Cookie()):
		// A late copy, of an answer to the guard's own question or to a ClientHello of the client's.
		return relay.Swallow
	case f.PreHandshake == nil:
		return relay.Refusal
	}
	v := f.PreHandshake.Verify(d, w.preHandshake)
	w.sendOff(f, w.preHandshake)
	return v
}

// queueReturn queues a slot of back for f's client.
func (w *worker) queueReturn(slot int, f *relay.Flow) {
	route := w.back.Route(slot)
	*route = f.Route
	e := returnedAs(len(w.back.Datagram(slot)), &f.Client.IP)
	if w.counts.Count(e); e == metrics.ReturnedLarge {
		w.large++
	}
	f.ToClient.Count(len(w.back.Datagram(slot)))
	q := w.returns
	if f.ClientSpoke && w.now-f.Confirmed >= int64(confirmEvery) {
		f.ClientSpoke, f.Confirmed = false, w.now
		q = w.confirms
	}
	q.Add(w.back.Datagram(slot), route)
}

// flushReturns sends what the server said to the clients.
func (w *worker) flushReturns() {
	if w.confirms.Len() > 0 { // first: of one flow's, it is the first
		w.sendReturns(w.confirms)
	}
	if w.returns.Len() > 0 {
		w.sendReturns(w.returns)
	}
	w.back.Reset()
}

func (w *worker) sendReturns(q *udpbatch.Queue) {
	n := q.Len()
	w.counts.Bytes(metrics.ToClients, q.Bytes())
	sent, _ := w.conn.Send(q)
	w.counts.Add(metrics.ReturnSent, sent)
	w.counts.Add(metrics.ReturnFailed, n-sent)
}

// drain throws away what a port that is about to get a flow has received before.
func (w *worker) drain(port *relay.Upstream) {
	w.flushReturns()
	for n := 1; n > 0; w.back.Reset() {
		n, _ = port.Recv(w.back)
	}
}
