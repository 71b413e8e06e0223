package handoff

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"
)

// Watch times. A server is asked for a cookie twice a second, which is how a restart is noticed before a client
// notices it; every 100 ms while something is wrong.
const (
	watchEvery    = 500 * time.Millisecond
	watchTroubled = 100 * time.Millisecond
	// silence is how long a server may be silent that was up: OpenSSL's and GnuTLS's programs see nobody else during a
	// handshake, and that may take a few retransmissions.
	silence = 10 * time.Second
	// stuck is how long a handshake may take that is to be left alone: the client's first retransmission (RFC 6347
	// section 4.2.4.1), and as much again.
	stuck = 2 * time.Second
	// settling is how long after a harvest a server that gives other cookies again, or refuses one, is thought to be
	// misunderstood rather than to be started anew. One that was started anew twice in that time is probed for nothing.
	settling = 20 * time.Second
	// askingMuch is how many cookies a second are worth a warning: DTLSv1_listen takes a hundredth of a CPU for them.
	askingMuch = 1000
)

// Suspicion is what makes the watch look at once.
type Suspicion bool

// What a server can do with a verified client that makes it suspect.
const (
	// Unanswered: it was silent, sent an alert, or nothing listens there.
	Unanswered Suspicion = false
	// Refused: it answered with a HelloVerifyRequest, so the cookie it got was not right.
	Refused Suspicion = true
)

// Suspect tells the watch that the server did not take a verified client up. Never blocks.
func (b *Backend) Suspect(s Suspicion) {
	if s == Refused {
		b.refused.Store(true)
	}
	b.doubted.Store(true)
	select {
	case b.suspect <- struct{}{}:
	default:
	}
}

// Opened tells the watch that a client's handshake with the server begins. Never blocks.
func (b *Backend) Opened() {
	b.opened.Add(1)
	b.shaking.Add(1)
}

// Settled tells the watch that a handshake is over; taken says that the server has taken the client up. Never blocks.
func (b *Backend) Settled(taken bool) {
	b.shaking.Add(-1)
	if taken {
		b.took.Store(true)
	}
}

// Run watches the server until ctx ends.
func (b *Backend) Run(ctx context.Context) {
	var clock sync.WaitGroup
	clock.Go(func() { b.pool.runClock(ctx) })
	defer clock.Wait()
	for {
		wait := watchEvery
		if !b.Ready() || !b.quiet.IsZero() {
			wait = watchTroubled
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			if b.Mode().Passes() && b.Ready() {
				continue // a question begins a handshake at such a server: it is asked when there is doubt
			}
		case <-b.suspect:
			timer.Stop()
		}
		b.leaveAlone(ctx)
		b.watch(ctx)
		// Suspicions come as fast as clients do; the server is asked ten times a second at most.
		pause(ctx, watchTroubled)
	}
}

// leaveAlone waits while clients are in their handshakes: gnutls-serv takes whatever comes then for its client's, and
// the handshake can hang. But not for those that have got stuck, and not for long where there is always one, or where cookies
// get old meanwhile.
func (b *Backend) leaveAlone(ctx context.Context) {
	began, most := time.Now(), silence
	if b.Mode() == Harvest && b.traits.Load().ages() {
		most = b.trials.refreshEvery() / 4
	}
	newest, opened := began, b.opened.Load()
	for ctx.Err() == nil && b.shaking.Load() > 0 && time.Since(newest) < stuck && time.Since(began) < most {
		pause(ctx, watchTroubled/5)
		if now := b.opened.Load(); now != opened {
			newest, opened = time.Now(), now
		}
	}
}

// pause waits, if ctx does not end before.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Heard tells the watch that the server says something to its clients.
func (b *Backend) Heard() { b.heard.Store(true) }

// watch asks for the canary's cookie. Another cookie than before is a restarted server, unless the server's cookies
// change with time: all are harvested again.
func (b *Backend) watch(ctx context.Context) {
	a, err := b.prober.ask(ctx, b.canary, answerTime, b.pool.question)
	if ctx.Err() != nil {
		return
	}
	b.pool.release(b.canary)
	if a.hello {
		b.prober.callOff(b.canary)
	}
	was := b.up.Load()
	gap := !was || !b.quiet.IsZero()
	if now := b.alive(err); was != now {
		b.up.Store(now)
		b.config.Log.Info("back end", "backend", b.config.Server, "up", now, "error", err)
	}
	if err != nil {
		return // what is known stays: a server that serves one client at a time is as silent as a dead one
	}
	refused := b.refused.Swap(false)
	if b.Mode().Passes() {
		if !was {
			b.reconsider(ctx)
		}
		return
	}
	if b.Mode() != Harvest {
		if !refused {
			return
		}
		// Should it be harvest from now on, then not with the cookies of an earlier life of the server.
		b.forget()
		if b.reconsider(ctx); b.Mode() != Harvest {
			return
		}
	}
	if a.cookie == nil {
		b.config.Log.Warn("back end answers a ClientHello without asking for a cookie", "backend", b.config.Server)
		return
	}
	b.refill(ctx, &a, gap, refused)
}

// alive judges the server by the answer to a question. Where nothing listens it is dead. A silent one may be busy
// with one client, and is taken for alive while it says something to a client, or for [silence].
func (b *Backend) alive(err error) bool {
	heard := b.heard.Swap(false)
	switch {
	case err == nil:
		b.quiet = time.Time{}
		return true
	case !b.up.Load() || errors.Is(err, errRefused):
		return false
	case heard || b.quiet.IsZero():
		b.quiet = time.Now()
	}
	return time.Since(b.quiet) < silence
}

// refill harvests what is missing; all, if the canary's cookie in a says that the server was restarted. Cookies with a
// clock in them do not say it, so there it is seen by what happens to clients: gap says that the server was silent or
// gone before, refused that it has refused a client.
func (b *Backend) refill(ctx context.Context, a *reply, gap, refused bool) {
	t := b.traits.Load()
	timed, first := t.Timed || t.Held, b.known == nil // the canary's cookie says nothing of those of others
	changed := !first && !timed && !bytes.Equal(a.cookie, b.known)
	switch {
	case !first && b.strange(a, changed, gap, refused):
		b.config.Log.Info("back end behaves otherwise than before: probing it again", "backend", b.config.Server)
		b.forget()
		if b.reconsider(ctx); b.Mode() != Harvest {
			return
		}
		b.begin(ctx, a.cookie)
	case first:
		b.begin(ctx, a.cookie)
	case changed || timed && (gap || refused):
		b.config.Log.Info("back end gives new cookies: harvesting again", "backend", b.config.Server)
		b.forget()
		b.begin(ctx, a.cookie)
	case t.Held:
		if now := time.Now(); b.doubted.Swap(false) && now.Sub(b.filled) > doubtEvery {
			b.filled = now
			b.pool.forget()
		}
		b.pool.renew(time.Now())
	case t.ages():
		b.pool.refresh(ctx, b.trials.refreshEvery())
		b.tryAges(ctx)
	}
	bounded := b.pool.most > 0
	b.full.Store(b.pool.fill(ctx))
	b.bounded.Store(int32(b.pool.most))
	if !bounded && b.pool.most > 0 {
		b.config.Log.Warn("back end gives cookies to so many sockets and no more: a guessed cookie is right once in as many tries",
			"backend", b.config.Server, "sockets", b.pool.most, "asked for", b.pool.size)
	}
}

// begin starts a harvest with the canary's cookie.
func (b *Backend) begin(ctx context.Context, canary []byte) {
	b.known, b.filled = canary, time.Now()
	b.took.Store(false)
	b.harvest.Add(1)
	b.trials.end()
	if b.traits.Load().ages() {
		b.trials.begin(ctx, b.prober)
	}
}

// tryAges finds out how old a cookie may get, and says so.
func (b *Backend) tryAges(ctx context.Context) {
	if !b.trials.step(ctx) {
		return
	}
	every := b.trials.refreshEvery()
	b.config.Log.Info("back end's cookies end with time", "backend", b.config.Server, "taken at an age of", 2*every, "asked for again every", every)
	if rate := float64(len(b.pool.ports)) / every.Seconds(); rate > askingMuch {
		b.config.Log.Warn("back end's cookies end so soon that it is asked for many", "backend", b.config.Server, "a second", int(rate),
			"hint", "a smaller --harvest-pool")
	}
}

// strange reports whether what is known of the server no longer explains it. A restart alone is not strange: who answers
// the first question as before is served as before. But an answer of another form is; and cookies that have changed again, or are
// refused, before any client was taken up with them: then they may depend on more than was seen.
func (b *Backend) strange(a *reply, changed, gap, refused bool) bool {
	t := b.traits.Load()
	if len(a.cookie) != t.CookieLength || int(a.sequence.Message) != t.Seq {
		return true
	}
	soon := time.Since(b.filled) < settling
	return (changed && soon || refused && !changed) && !gap && !b.took.Load()
}

// forget makes all that was harvested unknown.
func (b *Backend) forget() {
	b.known = nil
	b.full.Store(false)
	b.pool.forget()
}

// reconsider probes a server that is another one than before: it may need another mode now.
func (b *Backend) reconsider(ctx context.Context) {
	if b.config.Mode != Auto && !b.config.Mode.Native() && !b.config.Mode.Passes() {
		return
	}
	was := b.Mode()
	if err := b.choose(ctx); err != nil {
		b.config.Log.Warn("back end could not be probed again, or does not fit; keeping the hand-off", "backend", b.config.Server, "error", err)
		return
	}
	b.pool.treat(b.traits.Load())
	if kind := b.Mode(); kind != was {
		b.config.Log.Info("hand-off changed", "backend", b.config.Server, "handoff", kind.String(), "was", was.String(), "why", b.traits.Load().why(kind))
	}
}
