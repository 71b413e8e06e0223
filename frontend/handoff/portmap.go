package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// portMap maps handshakes to the entries of a pool. The map is keyed by the guard's secret: a forger of source addresses
// must guess the entry of the handshake, with one chance in as many as there are entries with a cookie. In the
// [GraceTime] after a rotation it has two, because the previous secret has a map of its own.
//
// A handshake has several candidates, in an order of its own, and is offered the first one that it can reserve. The
// reservation, in the entry itself, is all that is remembered of a first ClientHello: nothing grows, and when a flood has
// reserved every entry, each handshake gets its first candidate, as if there were no reservations. So at any time one
// candidate is the handshake's, and the cookies of the others are refused.
type portMap struct {
	pool  *Pool
	grace grace
}

// choices is the number of candidates per handshake. With one, a client would be lost if another one takes its entry
// between its two ClientHellos: it accepts a second HelloVerifyRequest, but OpenSSL refuses its third ClientHello. When
// 50 clients come at once to a pool of 4096, that would happen to one of them in one burst of four. With four, a client
// loses its entry only if all four are reserved for handshakes in progress: to the last of 1000 simultaneous clients in
// one case of 300, and to none of 50. Under a flood, which reserves all entries, it is again one of 50 in one burst of
// four. More candidates do not help a guesser, because only one counts; each costs a memory access.
const choices = 4

// longestWalk bounds the search for free entries. In a pool that is half in use it takes eight steps on average; with
// nine entries of ten in use, one search in 800 finds none in 64 steps.
const longestWalk = 64

// offer returns the entry to offer to the handshake with tag b under k, -1 if there is none: the first candidate that it
// can reserve, which it does, else the first candidate. It skips entries whose port another program has.
func (m *portMap) offer(k *cookie.Key, b *cookie.Binding) int {
	for {
		if i := m.find(k, b, true); i < 0 || m.pool.hold(i) {
			return i
		}
	}
}

// expected returns the entry whose cookie the handshake must present, -1 if there is none: the first candidate that is
// reserved for it, else the first candidate.
func (m *portMap) expected(k *cookie.Key, b *cookie.Binding) int { return m.find(k, b, false) }

// find returns the first candidate that is reserved for the handshake, or that can be if reserving; else the first
// candidate. Candidates are the first free entries with a cookie on a walk whose start and step come from the tag, so an
// entry after one in use gets no more handshakes than any other. The halves of the tag are scaled by less than 2^21, so
// the bias is below 2^-11.
func (m *portMap) find(k *cookie.Key, b *cookie.Binding, reserve bool) int {
	low, high := k.PoolTag(b)
	entries, computed := m.pool.entries[:m.pool.inUse.Load()], m.pool.computed
	size, now := uint64(len(entries)), m.pool.clock.Load()
	at, step := low>>32*size>>32, uint64(0)
	if size > 1 {
		step = 1 + low&(1<<32-1)*(size-1)>>32
	}
	first, seen := -1, 0
	for range min(longestWalk, size) {
		if e := &entries[at]; e.usable(computed) {
			if holder := uint32(high); reserve && e.reserve(holder, now) || !reserve && e.heldBy(holder) {
				return int(at)
			}
			if first < 0 {
				first = int(at)
			}
			if seen++; seen == choices {
				break
			}
		}
		if at += step; at >= size {
			at -= size
		}
	}
	return first
}
