package bpf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/dchest/siphash"
)

// ErrHalfOpen says that a source or its prefix has as many unfinished handshakes as it may have.
var ErrHalfOpen = errors.New("too many half-open flows of the source or its prefix")

// Numbers of consts.h.
const (
	halfOpenSources  = 0
	halfOpenPrefixes = 1 << 16
	halfOpenAll      = 2 << 16
	prefixHalfOpen   = 8
	halfOpenRoom     = 8
)

// halfOpen is how many flows may be half-open.
func (o *Options) halfOpen() int { return max(o.MaxFlows/4, leastHalfOpen) }

// limitHalfOpen puts the limits of p in force.
func (g *Programs) limitHalfOpen(p *Policy) {
	var source, all uint64
	if p.HalfOpenPerSource > 0 {
		source, all = uint64(p.Handshake)/uint64(p.HalfOpenPerSource), uint64(p.Handshake)/uint64(g.options.halfOpen())
	}
	atomic.StoreUint64(&g.control.HalfOpenBurst, uint64(p.Handshake))
	atomic.StoreUint64(&g.control.HalfOpenAllCost, all)
	atomic.StoreUint64(&g.control.HalfOpenCost, source)
}

// takeHalfOpen takes the tokens of a source, as half_open_tokens of limit.h does.
func (g *Programs) takeHalfOpen(source netip.Addr) bool {
	cost, burst, now := atomic.LoadUint64(&g.control.HalfOpenCost), atomic.LoadUint64(&g.control.HalfOpenBurst), monotonic()
	if cost == 0 {
		return true
	}
	ofSource, ofPrefix := g.halfOpenBuckets(source)
	all := &g.halfOpen[halfOpenAll]
	if atomic.LoadUint64(all) < now+burst/2 {
		cost /= halfOpenRoom
	}
	if !take(ofPrefix, now, cost/prefixHalfOpen, burst) {
		return false
	}
	if !take(ofSource, now, cost, burst) {
		atomic.AddUint64(ofPrefix, -(cost / prefixHalfOpen))
		return false
	}
	take(all, now, atomic.LoadUint64(&g.control.HalfOpenAllCost), burst)
	return true
}

// halfOpenBuckets are those of a source and its prefix.
func (g *Programs) halfOpenBuckets(source netip.Addr) (ofSource, ofPrefix *uint64) {
	_, prefix := sourceOf(source)
	return &g.halfOpen[halfOpenSources+g.halfOpenHash(halfOpenSources, source)],
		&g.halfOpen[halfOpenPrefixes+g.halfOpenHash(halfOpenPrefixes, prefix.Addr())]
}

func (g *Programs) halfOpenHash(domain uint64, a netip.Addr) uint64 {
	w := words(a)
	var message [24]byte
	binary.LittleEndian.PutUint64(message[:], domain)
	binary.LittleEndian.PutUint64(message[8:], uint64(w[0])<<32|uint64(w[1]))
	if a.Is4() {
		binary.LittleEndian.PutUint64(message[16:], uint64(w[3]))
	}
	return siphash.Hash(g.hashKey[0], g.hashKey[1], message[:]) >> 48
}

// take takes a token of a bucket, as take of limit.h does.
func take(bucket *uint64, now, cost, burst uint64) bool {
	for {
		old := atomic.LoadUint64(bucket)
		full := max(old, now)
		if full+cost > now+burst {
			return false
		}
		if atomic.CompareAndSwapUint64(bucket, old, full+cost) {
			return true
		}
	}
}
