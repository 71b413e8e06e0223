package handoff

import (
	"context"
	"math/big"
	"time"
)

// nextStep is the number of entries, a prime, that handshakes are mapped to after inUse of n.
func nextStep(inUse, n int) int {
	next := inUse * stepUp
	switch {
	case inUse == 0 && n > largePool:
		return servesFrom
	case inUse == 0, next*2 > n:
		return n
	}
	next, _ = entriesAtMost(next)
	return next
}

// advance maps handshakes to the entries that have cookies, without the reserve.
func (p *Pool) advance() {
	for {
		inUse := int(p.inUse.Load())
		next := nextStep(inUse, len(p.entries))
		if inUse == len(p.entries) || int(p.known.Load()) == 0 || p.lacking(next) > p.reserve(next) {
			return
		}
		p.inUse.Store(int32(next))
	}
}

// reserve is how many of the first n entries may lack a cookie.
func (p *Pool) reserve(n int) int {
	if n == len(p.entries) {
		return n - p.size
	}
	return n / spare
}

// fill requests the unknown cookies of free entries, and reports whether the pool can serve. It stops at the time that
// until returns, or when the server falls silent.
func (p *Pool) fill(ctx context.Context, until func(p *Pool) bool) bool {
	before, missing := int(p.known.Load()), p.missing()
	if p.most > 0 {
		missing = missing[:min(len(missing), max(0, p.most-before))]
	}
	p.more.Store(p.askAll(ctx, missing, until))
	p.advance()
	known, inUse := int(p.known.Load()), int(p.inUse.Load())
	switch {
	case p.most > 0:
		return known >= enough
	case inUse == 0 || known < p.size && p.lacking(inUse) > p.reserve(inUse):
		if p.fruitless++; known > before {
			p.fruitless = 0
		}
		if p.fruitless >= patientFills && known >= enough {
			p.bound(known)
		}
		return p.most > 0
	}
	p.fruitless = 0
	return known > 0
}

// bound adapts to a server that gives only so many cookies.
func (p *Pool) bound(known int) {
	last := 0
	for i := range p.entries {
		if p.entries[i].known() {
			last = i
		}
	}
	n := last + 1
	for n < len(p.entries) && !big.NewInt(int64(n)).ProbablyPrime(0) {
		n++
	}
	p.most = known
	p.bounded.Store(int32(known))
	p.inUse.Store(int32(n))
}

// lacking is how many of the first entries are free and have no cookie.
func (p *Pool) lacking(of int) (n int) {
	for i := range of {
		if !p.entries[i].known() && p.free(i) {
			n++
		}
	}
	return n
}

// missing returns the free entries without a cookie, except those on which the server is silent, which are spared for a
// time.
func (p *Pool) missing() (list []int) {
	if int(p.known.Load()) == len(p.entries) {
		return nil
	}
	now := time.Now()
	for i := range p.entries {
		if p.entries[i].known() || !p.free(i) {
			continue
		}
		if s, ok := p.silent[i]; !ok || now.After(s.until) {
			list = append(list, i)
		}
	}
	return list
}

// refresh requests the cookies again that are older than young. A cookie already offered is refreshed 25 % later: the
// client may still return it, and some servers reject a client that was offered two. Cookies of entries in use are
// forgotten, because they may be too old when the entry is free; fill requests them then, and those on which the server
// is silent, since waiting for these twice would age the others. Only pools with sockets are refreshed.
func (p *Pool) refresh(ctx context.Context, young time.Duration) {
	var old []int
	clock, now := p.clock.Load(), time.Now()
	for i := range p.kept {
		age := now.Sub(p.asked[i])
		if !p.entries[i].known() || age <= young || age <= young+young/4 && p.entries[i].kept(clock) {
			continue
		}
		if p.free(i) {
			old = append(old, i)
		} else {
			p.forgetOne(i)
		}
	}
	p.askAll(ctx, old, toTheEnd)
}

// toTheEnd is the limit of fills that must complete.
func toTheEnd(*Pool) bool { return false }
