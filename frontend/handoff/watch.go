package handoff

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"
)

// Watch times. A server is asked for a cookie every second, which is how a restart is noticed before a client
// notices it; every 100 ms while something is wrong.
const (
	watchEvery    = time.Second
	watchTroubled = 100 * time.Millisecond
	// silence is how long a server may be silent that was up: OpenSSL's and GnuTLS's programs see nobody else during a
	// handshake, and that may take a few retransmissions.
	silence = 10 * time.Second
	// refreshEvery is how old a cookie with a clock in it may get in the pool. Mbed TLS takes those of the last minute
	// (MBEDTLS_SSL_COOKIE_TIMEOUT), and a client needs some seconds to bring it. A pool of 4096 costs 200 questions a
	// second.
	refreshEvery = 20 * time.Second
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
	select {
	case b.suspect <- struct{}{}:
	default:
	}
}

// Run watches the server until ctx ends.
func (b *Backend) Run(ctx context.Context) {
	var clock sync.WaitGroup
	clock.Go(func() { b.pool.runClock(ctx) })
	defer clock.Wait()
	for {
		wait := watchEvery
		if !b.Ready() {
			wait = watchTroubled
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-b.suspect:
			timer.Stop()
		}
		b.watch(ctx)
		if ctx.Err() == nil {
			// Suspicions come as fast as clients do; the server is asked ten times a second at most.
			select {
			case <-ctx.Done():
			case <-time.After(watchTroubled):
			}
		}
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
	was := b.up.Load()
	if now := b.alive(err); was != now {
		b.up.Store(now)
		b.config.Log.Info("back end", "backend", b.config.Server, "up", now, "error", err)
	}
	if err != nil {
		return // what is known stays: a server that serves one client at a time is as silent as a dead one
	}
	refused := b.refused.Swap(false)
	if b.Kind() != Harvest {
		if !refused {
			return
		}
		// Should it be harvest from now on, then not with the cookies of an earlier life of the server.
		b.forget()
		if b.reconsider(ctx); b.Kind() != Harvest {
			return
		}
	}
	if a.cookie == nil {
		b.config.Log.Warn("back end answers a ClientHello without asking for a cookie", "backend", b.config.Server)
		return
	}
	b.refill(ctx, a.cookie, refused || !was)
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

// refill harvests what is missing; all, if the canary's cookie c says that the server was restarted. Cookies with a
// clock in them do not say it, so there it is seen by what happens to clients: doubt.
func (b *Backend) refill(ctx context.Context, c []byte, doubt bool) {
	timed := b.traits.Load().Timed
	first, same := b.known == nil, bytes.Equal(c, b.known)
	switch {
	case first || !same && !timed || timed && doubt:
		soon := time.Since(b.filled) < refreshEvery
		b.forget()
		b.known, b.filled = c, time.Now()
		b.harvest.Add(1)
		if !first {
			b.config.Log.Info("back end gives new cookies: harvesting again", "backend", b.config.Server)
			if known := b.traits.Load(); soon {
				b.reconsiderFrom(ctx, nil) // twice so soon: what changes may be the time
			} else {
				b.reconsiderFrom(ctx, known)
			}
		}
	case timed && time.Since(b.filled) > refreshEvery:
		b.filled = time.Now()
		b.pool.refresh(ctx)
	}
	b.full.Store(b.pool.fill(ctx))
}

// forget makes all that was harvested unknown.
func (b *Backend) forget() {
	b.known = nil
	b.full.Store(false)
	b.pool.forget()
}

// reconsider probes a server that seems to have been restarted: it may need another mode now.
func (b *Backend) reconsider(ctx context.Context) { b.reconsiderFrom(ctx, nil) }

func (b *Backend) reconsiderFrom(ctx context.Context, known *Traits) {
	if b.config.Kind != Auto {
		return
	}
	was := b.Kind()
	if err := b.choose(ctx, known); err != nil {
		b.config.Log.Warn("back end could not be probed again; keeping the hand-off", "backend", b.config.Server, "error", err)
		return
	}
	b.pool.counts.Store(b.traits.Load().counts())
	if kind := b.Kind(); kind != was {
		b.config.Log.Info("hand-off changed", "backend", b.config.Server, "handoff", kind.String(), "was", was.String(), "why", b.traits.Load().why(kind))
	}
}
