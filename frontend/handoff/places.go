package handoff

import (
	"github.com/dtlsguard/dtlsguard/cookie"
)

// places maps handshakes to the ports of a pool. The map is keyed by the guard's secret: who forges a source address
// must guess which port the handshake has, and has one chance in as many as there are ports with a cookie; in the
// [GraceTime] after a rotation two, since the secret of before has a map of its own.
//
// A handshake has several candidates, in an order of its own, and is given the first one that it can reserve. A reservation
// is all that is remembered of a first ClientHello, in the port's own slot: nothing grows, and when a flood
// has reserved every port, each handshake has the first of its candidates, as if there were no reservations. So at any time
// one candidate is the handshake's, and the cookies of the others are refused.
type places struct {
	pool     *Pool
	computed bool // any free port will do: its cookie is computed
	grace    grace
	found    [choices]int // what of returned last
}

// choices is how many candidates a handshake has. With one, a client whose port another one takes between its two
// ClientHellos would be lost: it takes a second HelloVerifyRequest, but OpenSSL takes no third ClientHello from it. When 50
// clients come at once to a pool of 4096, that would happen to one of them every fourth time. With four, a client
// loses its port only if all four are reserved for handshakes under way: to the last of 1000 that come at once in one
// case of 300, and to none of 50. Under a flood, which reserves them all, it is again one of 50 every fourth
// time. The number does not help who guesses, because one candidate counts; each costs a look into memory.
const choices = 4

// longestWalk bounds the search for free ports. In a pool that is half in use it takes eight steps on average;
// with nine ports of ten in use, one search in 800 gives up after 64 steps without any.
const longestWalk = 64

// place is where a handshake may go.
type place struct {
	ports  []int  // the candidates; none: there is no port to be had
	holder uint32 // names the handshake in reservations
}

// of finds the candidates of the handshake that k gives b's tag: those free ports with a cookie that come first on a walk
// whose start and step the tag says. So a port behind one that is taken gets no more handshakes than any other. What the
// tag's halves are scaled by is below 2^21, so the bias is below 2^-11. The place lives until the next call.
func (p *places) of(k *cookie.Key, b *cookie.Binding) place {
	low, high := k.PoolTag(b)
	size := uint64(len(p.pool.ports))
	at, step := int(low>>32*size>>32), 0
	if size > 1 {
		step = 1 + int(low&(1<<32-1)*(size-1)>>32)
	}
	n := 0
	for range min(longestWalk, int(size)) {
		if p.pool.slots[at].usable(p.computed) {
			p.found[n] = at
			if n++; n == choices {
				break
			}
		}
		if at += step; at >= int(size) {
			at -= int(size)
		}
	}
	return place{p.found[:n], uint32(high)}
}

// promise returns the port to give to a handshake, -1 if there is none, and reserves it if it can.
func (p *places) promise(to place) int {
	now := p.pool.clock.Load()
	for _, at := range to.ports {
		if p.pool.slots[at].reserve(to.holder, now) {
			return at
		}
	}
	return first(to.ports)
}

// due returns the port whose cookie a handshake must bring, -1 if there is none.
func (p *places) due(from place) int {
	for _, at := range from.ports {
		if p.pool.slots[at].heldBy(from.holder) {
			return at
		}
	}
	return first(from.ports)
}

func first(ports []int) int {
	if len(ports) == 0 {
		return -1
	}
	return ports[0]
}
