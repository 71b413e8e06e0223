package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// Flow is a peer that has proved its address to a service.
type Flow struct {
	Peer        netip.AddrPort
	Service     ServiceKey
	Idle        time.Duration // since its last packet, to the second
	Established bool          // by protected records of the server, or by a worker; false: by a cookie alone
}

// Flows calls yield for each flow until it returns false. It may miss flows that come and go meanwhile.
func (g *Programs) Flows(yield func(Flow) bool) error {
	g.mu.Lock()
	names := g.serviceNames()
	established, halfOpen := g.maps.Flows, g.maps.HalfOpen
	var timeout uint64
	if g.control != nil {
		timeout = atomic.LoadUint64(&g.control.Handshake)
	}
	g.mu.Unlock()
	if established == nil || halfOpen == nil {
		return ErrClosed
	}
	now, more := monotonic(), true
	show := func(k *guardFlowKey, seen uint64, established bool) bool {
		if service, ok := names[k.Service]; ok { // else the service is deleted
			more = yield(Flow{netip.AddrPortFrom(addr(k.Peer), uint16(k.Port)), service, age(now, seen), established})
		}
		return more
	}
	err := eachFlow(established, func(k *guardFlowKey, v *guardFlow) bool { return show(k, v.Seen, true) })
	if err != nil || !more {
		return err
	}
	return eachFlow(halfOpen, func(k *guardFlowKey, v *guardHalfOpenFlow) bool {
		return over(v, now, timeout) || show(k, v.Seen, false) // the map keeps them beyond their time
	})
}

// serviceNames are the services by their numbers. Call it with mu locked.
func (g *Programs) serviceNames() map[uint32]ServiceKey {
	names := make(map[uint32]ServiceKey)
	for i := range g.services {
		if g.services[i].used {
			names[g.services[i].id] = g.services[i].key
		}
	}
	return names
}

// age is the time from then to now, on the clock that the programs read.
func age(now, then uint64) time.Duration { return time.Duration(now - min(now, then)) }

// flowBatch is the number of flows per batch: more than a bucket of the map has.
const flowBatch = 4096

// eachFlow calls yield for each flow of m, whose values are V, until it returns false.
func eachFlow[V any](m *ebpf.Map, yield func(*guardFlowKey, *V) bool) error {
	keys, values := make([]guardFlowKey, flowBatch), make([]V, flowBatch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		for i := range n {
			if !yield(&keys[i], &values[i]) {
				return nil
			}
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // the end
			return nil
		case err != nil:
			return fmt.Errorf("list flows: %w", err)
		}
	}
}

// VerifiedFlows counts the flows of all services, and how many of them are half-open.
func (g *Programs) VerifiedFlows() (all, halfOpen int, err error) {
	err = g.Flows(func(f Flow) bool {
		all++
		if !f.Established {
			halfOpen++
		}
		return true
	})
	return all, halfOpen, err
}

// AddFlow lets a peer pass that has a flow with a worker.
func (g *Programs) AddFlow(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	if err == nil {
		err = g.maps.Flows.Put(key, &guardFlow{Seen: monotonic(), Established: 1})
	}
	if err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	return nil
}

// DeleteFlow removes a flow that AddFlow, AddHalfOpen or a valid cookie added.
func (g *Programs) DeleteFlow(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	if err == nil {
		err = errors.Join(remove(g.maps.Flows, key), g.deleteHalfOpen(key))
		g.noteRemovals()
	}
	if err != nil {
		return fmt.Errorf("delete flow of %v: %w", peer, err)
	}
	return nil
}

// noteRemovals makes the programs look flows up again that they saw a moment ago. Call it after flows were removed.
func (g *Programs) noteRemovals() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control != nil {
		atomic.AddUint32(&g.control.Removals, 1)
	}
}

// remove deletes a flow if it is there.
func remove(m *ebpf.Map, key *guardFlowKey) error {
	if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	return nil
}

func (g *Programs) flowKey(k ServiceKey, peer netip.AddrPort) (*guardFlowKey, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i, ok := g.find(k)
	if !ok {
		return nil, fmt.Errorf("%v: %w", k, ErrNoService)
	}
	return &guardFlowKey{Peer: words(peer.Addr()), Port: uint32(peer.Port()), Service: g.services[i].id}, nil
}
