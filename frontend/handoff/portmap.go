package handoff

import "github.com/dtlsguard/dtlsguard/cookie"

// portMap maps handshakes to the entries of a pool. The map is keyed by the guard's secret: a forger of source addresses
// must guess which entry the handshake has, and has one chance in as many as there are entries with a cookie; in the
// [GraceTime] after a rotation two, since the previous secret has a map of its own.
//
// A handshake has several candidates, in an order of its own, and is offered the first one that it can reserve. A reservation
// is all that is remembered of a first ClientHello, in the entry itself: nothing grows, and when a flood has reserved
// every entry, each handshake has the first of its candidates, as if there were no reservations. So at any time one candidate
// is the handshake's, and the cookies of the others are refused.
type portMap struct {
	pool  *Pool
	grace grace
}

// choices is how many candidates a handshake has. With one, a client whose entry another one takes between its two
// ClientHellos would be lost: it takes a second HelloVerifyRequest, but OpenSSL takes no third ClientHello from it. When 50
// clients come at once to a pool of 4096, that would happen to one of them every fourth time. With four, a client
// loses its entry only if all four are reserved for handshakes under way: to the last of 1000 that come at once in one
// case of 300, and to none of 50. Under a flood, which reserves them all, it is again one of 50 every fourth
// time. The number does not help a guesser, because one candidate counts; each costs a look into memory.
const choices = 4

// longestWalk bounds the search for free entries. In a pool that is half in use it takes eight steps on average;
// with nine entries of ten in use, one search in 800 gives up after 64 steps without any.
const longestWalk = 64

// offer returns the entry to give to the handshake that k gives b's tag, -1 if there is none: of its candidates the first
// that it can reserve, which it does, else the first. Those are passed over whose port another program has.
func (m *portMap) offer(k *cookie.Key, b *cookie.Binding) int {
	for {
		if i := m.find(k, b, true); i < 0 || m.pool.hold(i) {
			return i
		}
	}
}

// expected returns the entry whose cookie the handshake must bring, -1 if there is none: of its candidates the first that is
// reserved for it, else the first.
func (m *portMap) expected(k *cookie.Key, b *cookie.Binding) int { return m.find(k, b, false) }

// find returns the first candidate that can be reserved for the handshake, if that is what to do, or is reserved for it;
// else the first candidate. Candidates are those free entries with a cookie that come
// first on a walk whose start and step the tag says. So an entry after one that is taken gets no more handshakes than any
// other. What the tag's halves are scaled by is below 2^21, so the bias is below 2^-11.
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
