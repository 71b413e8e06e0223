package handoff

import (
	"context"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// witness tells a restarted server, whose cookies are all new, from one that refuses a client for what that client did: any
// client can be refused, with a cookie that it lets become too old, say. Where cookies depend on time, the canary's latest one
// is shown to the server: one that still takes it has not restarted.
type witness struct {
	cookie  []byte
	asked   time.Time
	cleared time.Time // when the server last took one
	forgot  time.Time // when a refusal last cost the pool its cookies
	doubt   bool      // a refusal was put off
}

// hear decides what a silence of the server (gap) or a refusal is worth, and returns those that count. Refusals cost the pool
// its cookies once per recheckEvery; what comes earlier is put off. next is the canary's cookie as of now.
func (b *Backend) hear(ctx context.Context, next []byte, gap, refused bool) (gapCounts, refusalCounts bool) {
	w := &b.witness
	shown := *w
	w.cookie, w.asked = next, time.Now()
	refused, w.doubt = refused || w.doubt, false
	if !gap && !refused {
		return false, false
	}
	now := time.Now()
	switch {
	case !gap && (now.Sub(w.cleared) < clearEvery || now.Sub(w.forgot) < recheckEvery):
		w.doubt = true
		return false, false
	case b.profile().ages() && b.stillTaken(ctx, &shown):
		w.cleared = time.Now()
		return false, false
	}
	return gap, refused
}

// stillTaken reports whether the server accepts w's cookie, which the canary had before whatever is in doubt. The handshake that
// this starts is aborted, and the canary asks from another port from then on.
func (b *Backend) stillTaken(ctx context.Context, w *witness) bool {
	if len(w.cookie) == 0 || time.Since(w.asked) > 2*b.lifetime.refreshEvery() {
		return false // it may have become too old, which proves nothing
	}
	q := &probing{prober: b.prober, ctx: ctx}
	if b.profile().counts() { // the server has forgotten that the canary asked
		if _, err := q.ask(ctx, b.canary, answerTime, q.prober.question); err != nil {
			return false
		}
	}
	a, err := q.told(b.canary, hello.Probe{Cookie: w.cookie, MessageSeq: 1, RecordSeq: 1}, attempts)
	if err != nil || !a.hello {
		return false
	}
	b.witness.cookie = nil
	b.newCanary()
	return true
}
