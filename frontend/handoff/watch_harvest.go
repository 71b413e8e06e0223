package handoff

import (
	"bytes"
	"context"
	"time"
)

// refill harvests what is missing, or everything if the canary's cookie in a shows a restart. Cookies with a clock do not
// show it, nor does that of another port; there the fate of clients does: gap means that the server was silent or gone
// before, refused that it has refused a client.
func (b *Backend) refill(ctx context.Context, a *reply, gap, refused bool, stop func(*Pool) bool) {
	p := b.profile()
	unknown, first := p.TimeDependent || p.Pending || b.moved, b.known == nil // the canary's cookie says nothing about others
	changed := !first && !unknown && !bytes.Equal(a.cookie, b.known)
	if !first {
		gap, refused = b.hear(ctx, a.cookie, gap, refused)
	}
	if refused {
		defer func() { b.witness.forgot = time.Now() }() // at the end: probing takes seconds
	}
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

// fill continues the harvest.
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

// logProgress logs the progress of a harvest that takes long, and its end.
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
	b.witness.cookie, b.witness.doubt = nil, false
	b.reports.accepted.Store(false)
	b.harvests.Add(1)
	b.lifetime.end()
	if b.profile().ages() {
		b.lifetime.begin(ctx, b.prober)
	}
}

// probeLifetime finds out how old a cookie may become, and logs it.
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

// behavesOtherwise reports whether the profile no longer explains the server. A restart alone is not a reason: a server that
// answers the first question as before is served as before. An answer of another form is; and so are cookies that changed
// again, or are refused, before any client was accepted with them: they may depend on more than was seen.
func (b *Backend) behavesOtherwise(a *reply, changed, gap, refused bool) bool {
	p := b.profile()
	if len(a.cookie) != p.CookieLength || int(a.sequence.Message) != p.Seq {
		return true
	}
	recent := time.Since(b.began) < soon
	return (changed && recent || refused && !changed) && !gap && !b.reports.accepted.Load()
}

// forget makes all harvested cookies unknown.
func (b *Backend) forget() {
	b.known = nil
	b.serves.Store(false)
	if p := b.pool(); p != nil {
		p.forget()
	}
}
