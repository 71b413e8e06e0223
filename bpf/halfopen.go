package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"
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
	longestHandshake = 4
)

// halfOpen is how many flows may be half-open.
func (o *Options) halfOpen() int { return max(o.MaxFlows/4, leastHalfOpen) }

// limitHalfOpen puts the limits of p in force. A bucket is the time at which it will be full; with a shorter timeout that would be too
// late for those that are used, so all are full again.
func (g *Programs) limitHalfOpen(p *Policy) {
	var source, all uint64
	switch {
	case p.HalfOpenPerSource > 0:
		source, all = uint64(p.Handshake)/uint64(p.HalfOpenPerSource), uint64(p.Handshake)/uint64(g.options.halfOpen())
	case p.Handshake > 0:
		source = halfOpenRoom * prefixHalfOpen // ns, so little that only refuse stops anybody
	}
	g.halfOpenPerSource = p.HalfOpenPerSource
	shorter := uint64(p.Handshake) < atomic.LoadUint64(&g.control.HalfOpenBurst)
	atomic.StoreUint64(&g.control.HalfOpenBurst, uint64(p.Handshake))
	atomic.StoreUint64(&g.control.HalfOpenAllCost, all)
	atomic.StoreUint64(&g.control.HalfOpenCost, source)
	if shorter {
		for i := range g.halfOpen {
			atomic.StoreUint64(&g.halfOpen[i], 0)
		}
	}
}

// AddHalfOpen lets a peer pass whose cookie a worker has verified, for a handshake with the server. It returns ErrHalfOpen if
// the peer's source or prefix has too many.
func (g *Programs) AddHalfOpen(k ServiceKey, peer netip.AddrPort) error {
	return g.addHalfOpen(k, peer, true)
}

// AddUnproved lets a peer pass that showed no cookie, for a handshake with the server. It counts for nobody's share of half-open
// flows, because nothing proves that the peer's address is its own.
func (g *Programs) AddUnproved(k ServiceKey, peer netip.AddrPort) error {
	return g.addHalfOpen(k, peer, false)
}

func (g *Programs) addHalfOpen(k ServiceKey, peer netip.AddrPort, proved bool) error {
	key, err := g.flowKey(k, peer)
	if err == nil {
		err = g.putHalfOpen(key, peer.Addr(), proved)
	}
	if err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	return nil
}

// putHalfOpen remembers a half-open flow as verified of clienthello.h does: a peer that has one or an established one takes no token,
// and the time of one that there is goes on.
func (g *Programs) putHalfOpen(key *guardFlowKey, source netip.Addr, proved bool) error {
	now := monotonic()
	var f guardHalfOpenFlow
	if g.maps.HalfOpen.Lookup(key, &f) == nil && !over(&f, now, atomic.LoadUint64(&g.control.Handshake)) {
		f.Seen, f.Refused = now, 0
		if err := g.maps.HalfOpen.Update(key, &f, ebpf.UpdateExist); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err // if it is not there any more, its handshake has just been finished
		}
		return nil
	}
	f = guardHalfOpenFlow{Seen: now, Born: now}
	var established guardFlow
	if proved && g.maps.Flows.Lookup(key, &established) != nil && !g.takeHalfOpen(source, &f, now) {
		return ErrHalfOpen
	}
	return g.maps.HalfOpen.Put(key, &f)
}

// over reports whether the time of a half-open flow is over, as half_open_flow of halfopen.h does.
func over(f *guardHalfOpenFlow, now, timeout uint64) bool {
	return timeout != 0 && (now > f.Seen+timeout || now > f.Born+longestHandshake*timeout)
}

// TimedOut calls yield with the service of each half-open flow whose time ended after since, CLOCK_MONOTONIC in ns, and returns until
// when it looked, for the next call. Those that the server refused are not among them, and flows that newcomers displaced or whose clients began anew are missed.
func (g *Programs) TimedOut(since uint64, yield func(ServiceKey)) (until uint64, err error) {
	g.mu.Lock()
	names, m := g.serviceNames(), g.maps.HalfOpen
	timeout := uint64(0)
	if g.control != nil {
		timeout = atomic.LoadUint64(&g.control.Handshake)
	}
	g.mu.Unlock()
	if until = monotonic(); m == nil || timeout == 0 {
		return until, nil
	}
	return until, eachFlow(m, func(k *guardFlowKey, f *guardHalfOpenFlow) bool {
		end := min(f.Seen+timeout, f.Born+longestHandshake*timeout)
		if service, ok := names[k.Service]; ok && f.Refused == 0 && since < end && end <= until {
			yield(service)
		}
		return true
	})
}

// deleteHalfOpen removes a half-open flow and gives back its tokens.
func (g *Programs) deleteHalfOpen(key *guardFlowKey) error {
	var f guardHalfOpenFlow
	if g.maps.HalfOpen.Lookup(key, &f) != nil {
		return nil
	}
	if err := g.maps.HalfOpen.Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil // and so are they
	} else if err != nil {
		return err
	}
	ofSource, ofPrefix := g.halfOpenBuckets(addr(key.Peer))
	now := monotonic()
	giveBack(ofSource, now, f.Taken)
	giveBack(ofPrefix, now, f.Taken/prefixHalfOpen)
	giveBack(&g.halfOpen[halfOpenAll], now, f.TakenOfAll)
	return nil
}

// takeHalfOpen takes the tokens of a source for f, as take_half_open of halfopen.h does.
func (g *Programs) takeHalfOpen(source netip.Addr, f *guardHalfOpenFlow, now uint64) bool {
	cost, burst := atomic.LoadUint64(&g.control.HalfOpenCost), atomic.LoadUint64(&g.control.HalfOpenBurst)
	if cost == 0 {
		return true
	}
	ofSource, ofPrefix := g.halfOpenBuckets(source)
	all := &g.halfOpen[halfOpenAll]
	if atomic.LoadUint64(all) < now+burst/2 {
		cost /= halfOpenRoom
	}
	if !take(ofSource, now, cost, burst) {
		return false
	}
	if !take(ofPrefix, now, cost/prefixHalfOpen, burst) {
		giveBack(ofSource, now, cost)
		return false
	}
	f.Taken = cost
	if ofAll := atomic.LoadUint64(&g.control.HalfOpenAllCost); take(all, now, ofAll, burst) {
		f.TakenOfAll = ofAll
	}
	return true
}

// giveBack undoes take, as give_back of halfopen.h does.
func giveBack(bucket *uint64, now, cost uint64) {
	for {
		old := atomic.LoadUint64(bucket)
		if old <= now || old < cost || atomic.CompareAndSwapUint64(bucket, old, old-cost) {
			return
		}
	}
}

// halfOpenBuckets are those of a source and its prefix.
func (g *Programs) halfOpenBuckets(source netip.Addr) (ofSource, ofPrefix *uint64) {
	prefix := sourceOf(&guardFlowKey{Peer: words(source)}).prefix().addr()
	return &g.halfOpen[halfOpenSources+g.halfOpenHash(halfOpenSources, source)],
		&g.halfOpen[halfOpenPrefixes+g.halfOpenHash(halfOpenPrefixes, prefix)]
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
