package handoff

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Intervals of the watch. It asks the server for a cookie twice per second, so that it notices a restart before a client
// does, and every 100 ms while something is wrong.
const (
	watchEvery    = 500 * time.Millisecond
	watchTroubled = 100 * time.Millisecond
	// silentMost is how long a server that was up may be silent: the programs of OpenSSL and GnuTLS ignore everybody
	// else during a handshake, which may take a few retransmissions.
	silentMost = 10 * time.Second
	// stalled is how long the watch waits for a handshake: twice the client's first retransmission timeout (RFC 6347
	// section 4.2.4.1).
	stalled = 2 * time.Second
	// soon is how long after a harvest a server that changes its cookies again, or refuses one, is assumed to be
	// misunderstood, not restarted. A server that restarts twice in that time is probed needlessly.
	soon = 20 * time.Second
	// askingMuch is how many cookies per second are worth a warning: they cost DTLSv1_listen 1 % of a CPU.
	askingMuch = 1000
	// slice is how long a pool is filled before the canary asks again.
	slice = 250 * time.Millisecond
	// refillEvery is how often a full pool is searched for entries without a cookie.
	refillEvery = 5 * time.Second
	// progressEvery is how often the log reports the progress of a harvest.
	progressEvery = 5 * time.Second
	// clearEvery bounds how often a server that refuses clients is shown a cookie: any client can make it refuse.
	clearEvery = time.Second
	// freshAfter is after how many unanswered questions the watch asks from another port: a NAT between guard and server keeps
	// a mapping to a server that is gone as long as the guard uses it.
	freshAfter = 5
)

// watched is the state of the goroutine that watches a server; nobody else uses it.
type watched struct {
	prober      *prober
	canary      line
	known       []byte    // the canary's cookie
	silentSince time.Time // since when the server is silent; zero: it answered the last question
	unanswered  int       // questions since then, by this canary
	moved       bool      // the canary has another port than when known was read
	witness     witness
	began       time.Time // start of the last harvest, when all cookies were requested
	filled      time.Time // when the pool was last searched for entries without a cookie
	said        time.Time // when progress was last logged
	complete    bool      // the end of the harvest was logged
	probed      time.Time // when the server was probed last
	lifetime    lifetimeProbes
	table       Table
	retired     []*relay.Upstream // sockets of earlier pools that flows still use
}

// memory allocates memory for a pool of n entries.
func (b *Backend) memory(n int) Table {
	if len(b.table.Entries) < n {
		b.table = b.config.Table(n)
	}
	return b.table
}

// retire ends a pool, except for the sockets that flows use, which end with them.
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
			continue // a question starts a handshake at such a server, so it is asked only in doubt
		}
		b.waitForHandshakes(ctx)
		b.turn.Lock()
		if ctx.Err() == nil {
			b.look(ctx, within(slice))
			b.retired = retire(b.retired)
		}
		b.turn.Unlock()
	}
}

// filling reports whether a pool is being filled by an answering server.
func (b *Backend) filling() bool {
	p := b.pool()
	return p != nil && p.more.Load() && b.up.Load() && b.silentSince.IsZero()
}

// wait waits for the next look at the server. Workers may report as often as clients come; the server is asked at most
// ten times per second.
func (b *Backend) wait(ctx context.Context) {
	pause(ctx, watchTroubled)
	left := watchEvery - watchTroubled
	if !b.Ready() || !b.silentSince.IsZero() {
		left = 0
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-b.reports.wake:
	}
}

// runClock advances the clock of reservations until ctx ends.
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

// waitForHandshakes waits while clients are in their handshakes: gnutls-serv takes a question then for its client's, and
// the handshake can hang. It does not wait for stalled handshakes, nor long where there is always one or where cookies
// age or are missing, nor at all when the server is gone or refuses cookies: then waiting costs clients.
func (b *Backend) waitForHandshakes(ctx context.Context) {
	r := &b.reports
	began, most := time.Now(), silentMost
	switch {
	case b.Mode() == Harvest && b.profile().ages():
		most = b.lifetime.refreshEvery() / 4
	case b.filling():
		most = slice
	}
	newest, opened := began, r.started.Load()
	for ctx.Err() == nil && !r.urgent() && r.handshaking.Load() > 0 && time.Since(newest) < stalled && time.Since(began) < most {
		pause(ctx, watchTroubled/5)
		if now := r.started.Load(); now != opened {
			newest, opened = time.Now(), now
		}
	}
}

// pause waits, unless ctx ends before.
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

// look asks for the canary's cookie. A changed cookie means a restarted server, unless its cookies change with time: all
// are harvested again, until stop ends the fill.
func (b *Backend) look(ctx context.Context, stop func(*Pool) bool) {
	gone := b.reports.gone.Swap(false)
	a, err := b.prober.ask(ctx, b.canary, answerTime, b.prober.question)
	if ctx.Err() != nil {
		return
	}
	if err == nil && !a.said() {
		err = errNotDTLS
	}
	if p := b.profile(); p.counts() || p.Pending {
		b.prober.abort(b.canary) // leaves no state at the server
	}
	if a.hello {
		b.prober.abort(b.canary)
	}
	was := b.up.Load()
	gap := !was || !b.silentSince.IsZero() || gone
	if now := b.alive(err); was != now {
		b.up.Store(now)
		b.logUp(now, err)
	}
	if err != nil {
		b.askElsewhere()
		return // keep what is known: a server that serves one client at a time is as silent as a dead one
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
		wrong := refused || b.witness.doubt || !b.mintsRight(ctx)
		if b.witness.doubt = wrong && time.Since(b.probed) < recheckEvery; !wrong || b.witness.doubt {
			return
		}
		// If the mode becomes harvest, cookies of the server's earlier life must not be used.
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

// askElsewhere moves the canary to another port when the server has not answered several questions.
func (b *Backend) askElsewhere() {
	if b.unanswered++; b.unanswered < freshAfter {
		return
	}
	b.newCanary()
}

// newCanary has the canary ask from another port from now on.
func (b *Backend) newCanary() {
	if c, err := b.prober.dial(netip.AddrPort{}); err == nil {
		b.prober.hangUp(b.canary)
		b.canary, b.unanswered, b.moved = c, 0, true
	}
}

// alive decides by the answer to a question whether the server is alive. It is dead if nothing listens. A silent one may
// be busy with one client: it counts as alive while it answers a client, or for [silentMost].
func (b *Backend) alive(err error) bool {
	heard := b.reports.serverSpoke.Swap(false)
	switch {
	case err == nil:
		b.silentSince = time.Time{}
		return true
	case !b.up.Load() || errors.Is(err, errRefused):
		return false
	case heard || b.silentSince.IsZero():
		b.silentSince = time.Now()
	}
	return time.Since(b.silentSince) < silentMost
}

// mintsRight reports whether the guard makes the same HelloRetryRequests as the server, if it makes any.
func (b *Backend) mintsRight(ctx context.Context) bool {
	r := b.profile().Retries
	return r == nil || b.Mode() != NativeWolfSSL || b.prober.asBefore(ctx, b.canary, b.config.Keys(), r)
}

// reconsider probes a server that has changed: it may need another mode now.
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
