package bpf

import (
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// Eviction reports what EvictFlows did.
type Eviction struct {
	Flows    int  // left
	Expired  int  // idle for too long
	Evicted  int  // idle for longest, because there were too many
	Crowded  int  // idle, of sources or prefixes over their limit, while flows were scarce
	Lingered int  // half-open for longer than a handshake may be silent, of sources over their limit
	Refused  int  // sources and prefixes that begin no handshake, because they have all flows that they may have
	Scarce   bool // more than three quarters of Options.MaxFlows are in use
}

// inUse is the part of its idle time that a flow may be silent for and still be in use: a new client ends no such flow.
const inUse = 0.1

// EvictFlows removes established flows that were idle for longer than idle says of their service (0: never); the zero key stands
// for services that are deleted. While there are more than Options.MaxFlows, it also removes those that have used most of that
// time, unless they are in use, silent for less than a tenth.
//
// Of inline services it limits what sources and prefixes have, as package relay does for those of a proxy: perSource flows of a
// source (0: no limit), eight times as many of a prefix, of which a source gets its fair share, and eight times both while less
// than half of Options.MaxFlows are used. Who has all begins no handshake until the next call, which must follow within
// refusedFor. While more than three quarters are used, flows beyond the limits are removed that are not in use, the longest
// silent first. Half-open flows that have outlived their tokens are limited by Policy.HalfOpenPerSource.
// The error is ErrClosed, or the map's.
func (g *Programs) EvictFlows(idle func(ServiceKey) time.Duration, perSource int) (e Eviction, err error) {
	g.mu.Lock()
	defer func() {
		if e.Expired+e.Evicted+e.Crowded > 0 {
			g.noteRemovals()
		}
	}()
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
	if flows, err = e.evictIdle(m, flows, most); err != nil {
		return e, err
	}
	flows = slices.DeleteFunc(flows, func(s silent) bool { return proxies[s.key.Service] })
	if err := g.limitCrowds(&e, flows, perSource, most); err != nil {
		return e, err
	}
	e.Lingered, err = g.evictLingering(proxies)
	return e, err
}

// evictIdle removes flows that were idle for too long, or for longest, and returns the others.
func (e *Eviction) evictIdle(m *ebpf.Map, flows []silent, most int) ([]silent, error) {
	idles := 0
	for ; idles < len(flows); idles++ {
		s := &flows[idles]
		if s.silence <= 1 && (len(flows)-idles <= most || s.silence <= inUse) {
			break
		}
		if err := evict(m, &s.key); err != nil {
			return nil, err
		}
		if s.silence > 1 {
			e.Expired++
		} else {
			e.Evicted++
		}
	}
	e.Flows = len(flows) - idles
	e.Scarce = 4*e.Flows > 3*most
	return flows[idles:], nil
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
	slices.SortFunc(list, longestFirst)
	return list, err
}

func evict(m *ebpf.Map, k *guardFlowKey) error {
	if err := remove(m, k); err != nil {
		return fmt.Errorf("evict flow: %w", err)
	}
	return nil
}
