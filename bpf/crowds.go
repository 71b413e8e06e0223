package bpf

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// refusedFor is for how long EvictFlows refuses handshakes of a source that has all flows that it may have: three of the looks
// that the daemon takes every 10 s, so that one that comes late opens no gap, and a daemon that is gone refuses nobody for long.
const refusedFor = 30 * time.Second

// PrefixFactor is how many times the limit of a source a prefix has: a site has several busy hosts, and one attacker's /24 or /48
// must not have all flows. It equals relay.PrefixFactor, which a test of package frontend checks.
const PrefixFactor = 8

// limitCrowds limits the flows of sources and prefixes; flows are those of inline services, the longest silent first.
func (g *Programs) limitCrowds(e *Eviction, flows []silent, perSource, most int) error {
	if perSource <= 0 {
		g.refuse(nil)
		return nil
	}
	if 2*e.Flows < most {
		perSource *= halfOpenRoom
	}
	c := count(flows, perSource)
	if e.Scarce {
		mayGo := func(s *silent) bool { return 4*e.Flows > 3*most && s.silence > inUse }
		err := c.thin(flows, mayGo, func(k *guardFlowKey) error {
			e.Flows--
			e.Crowded++
			return evict(g.maps.Flows, k)
		})
		if err != nil {
			return err
		}
	}
	full := make(map[int]bool)
	sources, prefixes := c.full()
	for _, s := range sources {
		full[halfOpenSources+int(g.halfOpenHash(halfOpenSources, s.addr()))] = true
	}
	for _, p := range prefixes {
		full[halfOpenPrefixes+int(g.halfOpenHash(halfOpenPrefixes, p.addr()))] = true
	}
	e.Refused = len(sources) + len(prefixes)
	g.refuse(full)
	return nil
}

// evictLingering removes half-open flows of inline services that have outlived their tokens, of sources and prefixes that have more
// than they may have, the oldest first. Those without a cookie count for nobody.
func (g *Programs) evictLingering(proxies map[uint32]bool) (gone int, err error) {
	g.mu.Lock()
	if g.control == nil {
		g.mu.Unlock()
		return 0, ErrClosed
	}
	m, limit, timeout := g.maps.HalfOpen, g.halfOpenPerSource, atomic.LoadUint64(&g.control.Handshake)
	g.mu.Unlock()
	if limit <= 0 || timeout == 0 {
		return 0, nil
	}
	now := monotonic()
	var flows []silent
	if err := eachFlow(m, func(k *guardFlowKey, v *guardHalfOpenFlow) bool {
		if v.Taken > 0 && !over(v, now, timeout) && !proxies[k.Service] {
			flows = append(flows, silent{*k, float64(age(now, v.Born)) / float64(timeout)})
		}
		return true
	}); err != nil {
		return 0, err
	}
	if 2*len(flows) < g.options.halfOpen() {
		limit *= halfOpenRoom
	}
	slices.SortFunc(flows, longestFirst)
	c := count(flows, limit)
	err = c.thin(flows, func(s *silent) bool { return s.silence > 1 }, func(k *guardFlowKey) error {
		gone++
		return evict(m, k)
	})
	return gone, err
}

func longestFirst(a, b silent) int { return cmp.Compare(b.silence, a.silence) }

// refuse uses up the tokens of buckets of half-open flows, so that their sources begin no handshake, and fills those again that the
// call before emptied and this one does not.
func (g *Programs) refuse(buckets map[int]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return
	}
	for i := range g.emptied {
		if !buckets[i] {
			atomic.StoreUint64(&g.halfOpen[i], 0)
		}
	}
	until := monotonic() + atomic.LoadUint64(&g.control.HalfOpenBurst) + uint64(refusedFor)
	for i := range buckets {
		atomic.StoreUint64(&g.halfOpen[i], until)
	}
	g.emptied = buckets
}

// crowds counts flows by source and by prefix.
type crowds struct {
	limit    int // of a source
	sources  map[network]int
	prefixes map[network]int
	shares   map[network]int // that a source may have, of prefixes that are over their limit
}

func count(flows []silent, limit int) crowds {
	c := crowds{limit, make(map[network]int), make(map[network]int), make(map[network]int)}
	for i := range flows {
		c.add(&flows[i].key, 1)
	}
	members := make(map[network][]int)
	for source, n := range c.sources {
		if prefix := source.prefix(); c.prefixes[prefix] > PrefixFactor*limit {
			members[prefix] = append(members[prefix], n)
		}
	}
	for prefix, flows := range members {
		c.shares[prefix] = fairShare(flows, PrefixFactor*limit)
	}
	return c
}

// fairShare returns the most that each may have, so that all together have at most limit; at least 1.
func fairShare(each []int, limit int) int {
	slices.Sort(each)
	for i, n := range each {
		share := limit / (len(each) - i)
		if n > share {
			return max(share, 1)
		}
		limit -= n
	}
	return max(each[len(each)-1], 1)
}

// thin calls end for flows that may go, of sources that have more than they may have, and then of prefixes, in the order of flows.
// Sources first: one address alone may have its whole prefix over, whose other addresses must not pay for it.
func (c crowds) thin(flows []silent, mayGo func(*silent) bool, end func(*guardFlowKey) error) error {
	for _, over := range []func(*guardFlowKey) bool{c.sourceIsOver, c.prefixIsOver} {
		left := flows[:0]
		for _, s := range flows {
			if !over(&s.key) || !mayGo(&s) {
				left = append(left, s)
				continue
			}
			if err := end(&s.key); err != nil {
				return err
			}
			c.add(&s.key, -1)
		}
		flows = left
	}
	return nil
}

func (c crowds) add(k *guardFlowKey, n int) {
	source := sourceOf(k)
	c.sources[source] += n
	c.prefixes[source.prefix()] += n
}

// may returns how many flows a source of a prefix may have.
func (c crowds) may(prefix network) int {
	if share, ok := c.shares[prefix]; ok {
		return min(share, c.limit)
	}
	return c.limit
}

func (c crowds) sourceIsOver(k *guardFlowKey) bool {
	source := sourceOf(k)
	return c.sources[source] > c.may(source.prefix())
}

func (c crowds) prefixIsOver(k *guardFlowKey) bool {
	return c.prefixes[sourceOf(k).prefix()] > PrefixFactor*c.limit
}

// full returns the sources that have all flows that they may have, and the prefixes with so many sources that one flow for each is
// too many: an IPv6 /48 has 65 536.
func (c crowds) full() (sources, prefixes []network) {
	members := make(map[network]int)
	for source, n := range c.sources {
		prefix := source.prefix()
		if n > 0 {
			members[prefix]++
		}
		if n >= c.may(prefix) {
			sources = append(sources, source)
		}
	}
	for prefix, n := range members {
		if n >= PrefixFactor*c.limit {
			prefixes = append(prefixes, prefix)
		}
	}
	return sources, prefixes
}

// network is an IPv4 network, below 32 bits set, or the first 64 bits of an IPv6 one: a key that is quick to hash.
type network uint64

const ofIPv4 network = 0xffffffff << 32 // a prefix of IPv6 multicast, which no source has

// sourceOf is what the host of a peer can pick addresses from, an IPv4 address or an IPv6 /64.
func sourceOf(k *guardFlowKey) network {
	a := addr(k.Peer)
	if a.Is4() {
		b := a.As4()
		return ofIPv4 | network(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return network(binary.BigEndian.Uint64(b[:8]))
}

// prefix is what the site of a source can pick sources from, /24 and /48.
func (n network) prefix() network {
	if n&ofIPv4 == ofIPv4 {
		return n &^ 0xff
	}
	return n &^ 0xffff
}

func (n network) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	if n&ofIPv4 == ofIPv4 {
		return netip.AddrFrom4([4]byte(b[4:8]))
	}
	return netip.AddrFrom16(b)
}
