package handoff

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Watch times. A server is asked for a cookie twice a second, which is how a restart is noticed before a client
// notices it; every 100 ms while something is wrong.
const (
	watchEvery    = 500 * time.Millisecond
	watchTroubled = 100 * time.Millisecond
	// silentMost is how long a server may be silent that was up: OpenSSL's and GnuTLS's programs see nobody else during a
	// handshake, and that may take a few retransmissions.
	silentMost = 10 * time.Second
	// stalled is how long a handshake may take that is to be left alone: the client's first retransmission (RFC 6347
	// section 4.2.4.1), and as much again.
	stalled = 2 * time.Second
	// soon is how long after a harvest a server that gives other cookies again, or refuses one, is thought to be
	// misunderstood rather than to be restarted. One that is restarted twice in that time is probed for nothing.
	soon = 20 * time.Second
	// askingMuch is how many cookies per second are worth a warning: DTLSv1_listen takes a hundredth of a CPU for them.
	askingMuch = 1000
	// slice is how long a pool is filled before the canary has its turn again.
	slice = 250 * time.Millisecond
	// refillEvery is how often a full pool is looked at for the entries that it lacks.
	refillEvery = 5 * time.Second
	// progressEvery is how often the log says how far a harvest is.
	progressEvery = 5 * time.Second
	// reprobeEvery is how often a server is probed again at most that refuses clients: one that sends it what it cannot take
	// makes it do so.
	reprobeEvery = time.Second
	// freshAfter is how many questions without an answer make the watch ask from another port. A NAT between guard and server
	// keeps a mapping to a server that is gone for as long as the guard asks on it.
	freshAfter = 5
)

// watched is what the goroutine that watches a server knows of it; nobody else reads or writes it.
type watched struct {
	prober     *prober
	canary     line
	known      []byte    // the canary's cookie
	quiet      time.Time // since when the server has said nothing; zero: it has answered the last question
	unanswered int       // questions since then, from this canary
	moved      bool      // the canary has another port than it had when known was
	began      time.Time // of the last harvest: when all cookies were asked for
	filled     time.Time // when entries were looked for last that lack a cookie
	said       time.Time // when the log had the last word on it
	complete   bool      // it said that the harvest is over
	probed     time.Time // when the server was probed last
	lifetime   lifetimeProbes
	table      Table
	retired    []*relay.Upstream // sockets of earlier pools that flows still have
}

// memory is for a pool of n entries.
func (b *Backend) memory(n int) Table {
	if len(b.table.Entries) < n {
		b.table = b.config.Table(n)
	}
	return b.table
}

// retire ends a pool, but for the sockets that flows have: those end when they are free.
func (b *Backend) retire(p *Pool) {
	p.close()
	b.retired = retire(append(b.retired, p.kept...))
}

// Run watches the server until ctx ends.
func (b *Backend) Run(ctx context.Context) {
	var clock sync.WaitGroup
	clock.Go(func() { b.runClock(ctx) })
	defer clock.Wait()
	if b.config.Keys != nil {
		clock.Go(func() { b.psk.run(ctx, b.config.Server, b.config.Log) })
	}
	for ctx.Err() == nil {
		if !b.filling() {
			b.wait(ctx)
		}
		if b.Mode().Passes() && b.Ready() && !b.reports.recheck.Swap(false) {
			continue // a question begins a handshake at such a server: it is asked when there is doubt
		}
		b.waitForHandshakes(ctx)
		b.look(ctx, within(slice))
		b.retired = retire(b.retired)
	}
}

// filling reports whether a pool is being filled, by an answering server.
func (b *Backend) filling() bool {
	p := b.pool()
	return p != nil && p.more.Load() && b.up.Load() && b.quiet.IsZero()
}

// wait waits until it is time to look at the server again. Suspicions come as fast as clients do; the server is asked ten
// times per second at most.
func (b *Backend) wait(ctx context.Context) {
	pause(ctx, watchTroubled)
	left := watchEvery - watchTroubled
	if !b.Ready() || !b.quiet.IsZero() {
		left = 0
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-b.reports.suspect:
	}
}

// runClock moves the clock of reservations on until ctx ends.
func (b *Backend) runClock(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			if p := b.pool(); p != nil {
				p.tick(now)
			}
		}
	}
}

// waitForHandshakes waits while clients are in their handshakes: gnutls-serv takes whatever comes then for its client's, and
// the handshake can hang. But not for those that stall, not for long where there is always one, or where cookies get old or
// are missing meanwhile, and not at all when the server is gone or refuses cookies: then clients are lost by waiting.
func (b *Backend) waitForHandshakes(ctx context.Context) {
	r := &b.reports
	began, most := time.Now(), silentMost
	switch {
	case b.Mode() == Harvest && b.profile().ages():
		most = b.lifetime.refreshEvery() / 4
	case b.filling():
		most = slice
	}
	newest, opened := began, r.opened.Load()
	for ctx.Err() == nil && !r.urgent() && r.handshaking.Load() > 0 && time.Since(newest) < stalled && time.Since(began) < most {
		pause(ctx, watchTroubled/5)
		if now := r.opened.Load(); now != opened {
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

// within stops a fill after d.
func within(d time.Duration) func(*Pool) bool {
	end := time.Now().Add(d)
	return func(*Pool) bool { return time.Now().After(end) }
}

// serving stops a fill that has enough to serve, or at a time.
func serving(end time.Time) func(*Pool) bool {
	return func(p *Pool) bool { return p.inUse.Load() > 0 || time.Now().After(end) }
}

// look asks for the canary's cookie. Another cookie than before is a restarted server, unless the server's cookies change
// with time: all are harvested again, until stop says that it is time to look again.
func (b *Backend) look(ctx context.Context, stop func(*Pool) bool) {
	gone := b.reports.gone.Swap(false)
	a, err := b.prober.ask(ctx, b.canary, answerTime, b.prober.question)
	if ctx.Err() != nil {
		return
	}
	if p := b.profile(); p.counts() || p.Pending {
		b.prober.abort(b.canary) // so that asking leaves nothing there
	}
	if a.hello {
		b.prober.abort(b.canary)
	}
	was := b.up.Load()
	gap := !was || !b.quiet.IsZero() || gone
	if now := b.alive(err); was != now {
		b.up.Store(now)
		b.logUp(now, err)
	}
	if err != nil {
		b.askElsewhere()
		return // what is known stays: a server that serves one client at a time is as silent as a dead one
	}
	b.unanswered = 0
	refused := b.reports.refused.Swap(false)
	if b.Mode().Passes() {
		if !was {
			b.reconsider(ctx)
		}
		return
	}
	if b.Mode() != Harvest {
		if !refused && b.mintsRight(ctx) || time.Since(b.probed) < reprobeEvery {
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
	b.refill(ctx, &a, gap, refused, stop)
}

func (b *Backend) logUp(up bool, err error) {
	if up {
		b.config.Log.Info("back end is up again", "backend", b.config.Server)
	} else {
		b.config.Log.Error("back end is down", "backend", b.config.Server, "error", err)
	}
	if b.config.Changed != nil {
		b.config.Changed(up, err)
	}
}

// askElsewhere gives the canary another port when the server has been silent to it for some questions.
func (b *Backend) askElsewhere() {
	if b.unanswered++; b.unanswered < freshAfter {
		return
	}
	if c, err := b.prober.dial(netip.AddrPort{}); err == nil {
		_ = b.canary.Close()
		b.canary, b.unanswered, b.moved = c, 0, true
	}
}

// alive judges the server by the answer to a question. Where nothing listens it is dead. A silent one may be busy
// with one client, and is taken for alive while it says something to a client, or for [silentMost].
func (b *Backend) alive(err error) bool {
	heard := b.reports.heard.Swap(false)
	switch {
	case err == nil:
		b.quiet = time.Time{}
		return true
	case !b.up.Load() || errors.Is(err, errRefused):
		return false
	case heard || b.quiet.IsZero():
		b.quiet = time.Now()
	}
	return time.Since(b.quiet) < silentMost
}

// refill harvests what is missing; all, if the canary's cookie in a says that the server was restarted. Cookies with a
// clock in them do not say it, nor does one of another port, so there it is seen by what happens to clients: gap says that the
// server was silent or gone before, refused that it has refused a client.
func (b *Backend) refill(ctx context.Context, a *reply, gap, refused bool, stop func(*Pool) bool) {
	p := b.profile()
	unknown, first := p.TimeDependent || p.Pending || b.moved, b.known == nil // the canary's cookie says nothing of those of others
	changed := !first && !unknown && !bytes.Equal(a.cookie, b.known)
	switch {
	case !first && b.behavesOtherwise(a, changed, gap, refused):
		b.config.Log.Info("back end behaves otherwise than before: probing it again", "backend", b.config.Server)
		b.forget()
		if b.reconsider(ctx); b.Mode() != Harvest {
			return
		}
		b.begin(ctx, a.cookie)
	case first:
		b.begin(ctx, a.cookie)
	case changed || unknown && (gap || refused):
		b.config.Log.Info("back end gives new cookies: harvesting again", "backend", b.config.Server)
		b.forget()
		b.begin(ctx, a.cookie)
	case p.Pending:
		if now := time.Now(); b.reports.recheck.Swap(false) && now.Sub(b.began) > recheckEvery {
			b.began = now
			b.pool().forget()
		}
		b.pool().renew(time.Now())
	case p.ages():
		b.pool().refresh(ctx, b.lifetime.refreshEvery())
		b.probeLifetime(ctx)
	}
	b.fill(ctx, stop)
}

// fill goes on with the harvest.
func (b *Backend) fill(ctx context.Context, stop func(*Pool) bool) {
	p, now := b.pool(), time.Now()
	if p.kept == nil && !p.more.Load() && int(p.known.Load()) >= p.size && now.Sub(b.filled) < refillEvery {
		return
	}
	b.filled = now
	bounded := p.most > 0
	b.serves.Store(p.fill(ctx, stop))
	if !bounded && p.most > 0 {
		b.config.Log.Warn("back end gives cookies to so many addresses and no more: a guessed cookie is right once in as many tries",
			"backend", b.config.Server, "addresses", p.most, "asked_for", p.size)
	}
	b.logProgress(p)
}

// logProgress says how far a harvest is, if it takes its time, and when it is over.
func (b *Backend) logProgress(p *Pool) {
	known, now := int(p.known.Load()), time.Now()
	took := now.Sub(b.began).Round(time.Millisecond)
	switch {
	case known >= p.size && !b.complete:
		b.complete = true
		b.config.Log.Info("pool is full", "backend", b.config.Server, "known", known, "took", took)
	case !b.complete && p.more.Load() && now.Sub(b.said) >= progressEvery:
		b.said = now
		b.config.Log.Info("harvesting", "backend", b.config.Server, "known", known, "pool", p.size, "took", took)
	}
}

// begin starts a harvest with the canary's cookie.
func (b *Backend) begin(ctx context.Context, canary []byte) {
	now := time.Now()
	b.known, b.began, b.said, b.complete, b.moved = canary, now, now, false, false
	b.reports.accepted.Store(false)
	b.harvests.Add(1)
	b.lifetime.end()
	if b.profile().ages() {
		b.lifetime.begin(ctx, b.prober)
	}
}

// probeLifetime finds out how old a cookie may get, and says so.
func (b *Backend) probeLifetime(ctx context.Context) {
	if !b.lifetime.step(ctx) {
		return
	}
	every := b.lifetime.refreshEvery()
	b.config.Log.Info("back end's cookies end with time", "backend", b.config.Server, "accepted_age", 2*every, "refreshed_every", every)
	if rate := float64(len(b.pool().entries)) / every.Seconds(); rate > askingMuch {
		b.config.Log.Warn("back end's cookies end so soon that it is asked for many", "backend", b.config.Server, "per_second", int(rate),
			"hint", "a smaller setting harvest-pool")
	}
}

// behavesOtherwise reports whether what is known of the server no longer explains it. A restart alone does not: who answers
// the first question as before is served as before. But an answer of another form does; and cookies that have changed again, or
// are refused, before any client was accepted with them: then they may depend on more than was seen.
func (b *Backend) behavesOtherwise(a *reply, changed, gap, refused bool) bool {
	p := b.profile()
	if len(a.cookie) != p.CookieLength || int(a.sequence.Message) != p.Seq {
		return true
	}
	recent := time.Since(b.began) < soon
	return (changed && recent || refused && !changed) && !gap && !b.reports.accepted.Load()
}

// mintsRight reports whether the server's HelloRetryRequests are those that the guard makes in its place, if it makes any.
func (b *Backend) mintsRight(ctx context.Context) bool {
	r := b.profile().Retries
	return r == nil || b.Mode() != NativeWolfSSL || b.prober.asBefore(ctx, b.canary, b.config.Keys(), r)
}

// forget makes all that was harvested unknown.
func (b *Backend) forget() {
	b.known = nil
	b.serves.Store(false)
	if p := b.pool(); p != nil {
		p.forget()
	}
}

// reconsider probes a server that is another one than before: it may need another mode now.
func (b *Backend) reconsider(ctx context.Context) {
	if m := b.config.Mode; m != Auto && !m.Native() && !m.Passes() {
		return
	}
	was := b.Mode()
	if err := b.choose(ctx); err != nil {
		b.config.Log.Warn("back end could not be probed again, or does not fit; keeping the hand-off", "backend", b.config.Server, "error", err)
		return
	}
	if mode := b.Mode(); mode != was {
		b.config.Log.Info("hand-off changed", "backend", b.config.Server, "handoff", mode.String(), "previous", was.String(), "why", modes[mode].why(b.profile()))
	}
}
