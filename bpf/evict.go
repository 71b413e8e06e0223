package bpf

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// Eviction reports what EvictFlows did.
type Eviction struct {
	Flows   int  // left
	Expired int  // idle for too long
	Evicted int  // idle for longest, because there were too many
	Crowded int  // of sources or prefixes over their limit, while flows were scarce
	Scarce  bool // more than three quarters of Options.MaxFlows are in use
}

// EvictFlows removes established flows that were idle for longer than idle says of their service (0: never); the zero key stands
// for services that are deleted. While there are more than Options.MaxFlows, it also removes those that have used most of that
// time, unless less than a tenth: those are in use. While more than three quarters of Options.MaxFlows are used, it removes the
// flows that sources have beyond perSource (0: no limit) with inline services, then those of prefixes beyond eight times as many,
// the longest silent first: nobody may fill the map alone. Workers limit those of a proxy. The error is ErrClosed, or the map's.
func (g *Programs) EvictFlows(idle func(ServiceKey) time.Duration, perSource int) (e Eviction, err error) {
	g.mu.Lock()
	m, proxies, times := g.maps.Flows, make(map[uint32]bool), make(map[uint32]time.Duration)
	for i := range g.services {
		if s := &g.services[i]; s.used {
			times[s.id] = idle(s.key)
			proxies[s.id] = s.proxy
		}
	}
	g.mu.Unlock()
	deleted := idle(ServiceKey{})
	if m == nil {
		return e, ErrClosed
	}
	flows, err := bySilence(m, func(id uint32) time.Duration {
		if t, ok := times[id]; ok {
			return t
		}
		return deleted
	})
	if err != nil {
		return e, err
	}
	most := int(m.MaxEntries()) * flowSlack / (flowSlack + 1)
	idles := 0
	for ; idles < len(flows); idles++ {
		s := &flows[idles]
		if s.silence <= 1 && (len(flows)-idles <= most || s.silence <= 0.1) {
			break
		}
		if err := evict(m, &s.key); err != nil {
			return e, err
		}
		if s.silence > 1 {
			e.Expired++
		} else {
			e.Evicted++
		}
	}
	flows = flows[idles:]
	e.Flows = len(flows)
	if e.Scarce = 4*e.Flows > 3*most; !e.Scarce || perSource <= 0 {
		return e, nil
	}
	flows = slices.DeleteFunc(flows, func(s silent) bool { return proxies[s.key.Service] })
	c := count(flows, perSource)
	// Sources first: one address alone may have its whole prefix over, whose other addresses must not pay for it.
	for _, over := range []func(*guardFlowKey) bool{c.sourceIsOver, c.prefixIsOver} {
		left := flows[:0]
		for i := range flows {
			k := flows[i].key
			if 4*e.Flows <= 3*most || !over(&k) {
				left = append(left, flows[i])
				continue
			}
			if err := evict(m, &k); err != nil {
				return e, err
			}
			c.remove(&k)
			e.Flows--
			e.Crowded++
		}
		flows = left
	}
	return e, nil
}

// silent is a flow that was idle for some time.
type silent struct {
	key     guardFlowKey
	silence float64 // in units of its service's idle time
}

// bySilence lists the flows of m, the longest silent first; idle is the idle time of a service, by its number.
func bySilence(m *ebpf.Map, idle func(id uint32) time.Duration) (list []silent, err error) {
	now := monotonic()
	err = eachFlow(m, func(k *guardFlowKey, v *guardFlow) bool {
		s := silent{key: *k}
		if t := idle(k.Service); t > 0 {
			s.silence = float64(age(now, v.Seen)) / float64(t)
		}
		list = append(list, s)
		return true
	})
	slices.SortFunc(list, func(a, b silent) int { return cmp.Compare(b.silence, a.silence) })
	return list, err
}

func evict(m *ebpf.Map, k *guardFlowKey) error {
	if err := remove(m, k); err != nil {
		return fmt.Errorf("evict flow: %w", err)
	}
	return nil
}

// crowds counts flows by source and by prefix.
type crowds struct {
	limit             int // of a source
	sources, prefixes map[netip.Prefix]int
}

func count(flows []silent, limit int) crowds {
	c := crowds{limit, make(map[netip.Prefix]int), make(map[netip.Prefix]int)}
	for i := range flows {
		c.add(&flows[i].key, 1)
	}
	return c
}

func (c crowds) add(k *guardFlowKey, n int) {
	source, prefix := sourceOf(addr(k.Peer))
	c.sources[source] += n
	c.prefixes[prefix] += n
}

func (c crowds) remove(k *guardFlowKey) { c.add(k, -1) }

func (c crowds) sourceIsOver(k *guardFlowKey) bool {
	source, _ := sourceOf(addr(k.Peer))
	return c.sources[source] > c.limit
}

func (c crowds) prefixIsOver(k *guardFlowKey) bool {
	_, prefix := sourceOf(addr(k.Peer))
	return c.prefixes[prefix] > prefixFlows*c.limit
}

// prefixFlows is how many times the limit of a source that of a prefix is.
const prefixFlows = 8

// sourceOf is what one host can pick addresses from, an IPv4 address or an IPv6 /64, and what one site can, /24 and /48.
func sourceOf(a netip.Addr) (source, prefix netip.Prefix) {
	if a.Is4() {
		source, _ = a.Prefix(32)
		prefix, _ = a.Prefix(24)
		return source, prefix
	}
	source, _ = a.Prefix(64)
	prefix, _ = a.Prefix(48)
	return source, prefix
}
