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
	names := make(map[uint32]ServiceKey)
	for i := range g.services {
		if g.services[i].used {
			names[g.services[i].id] = g.services[i].key
		}
	}
	established, halfOpen := g.maps.Flows, g.maps.HalfOpen
	g.mu.Unlock()
	now := monotonic()
	for _, m := range []*ebpf.Map{established, halfOpen} {
		if m == nil {
			return ErrClosed
		}
		more := true
		err := eachFlow(m, func(k *guardFlowKey, v *guardFlow) bool {
			if service, ok := names[k.Service]; ok { // else the service is deleted
				more = yield(Flow{netip.AddrPortFrom(addr(k.Peer), uint16(k.Port)), service, age(now, v), m == established})
			}
			return more
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func age(now uint64, v *guardFlow) time.Duration { return time.Duration(now - min(now, v.Seen)) }

// flowBatch is the number of flows per batch: more than a bucket of the map has.
const flowBatch = 4096

// eachFlow calls yield for each flow of m until it returns false.
func eachFlow(m *ebpf.Map, yield func(*guardFlowKey, *guardFlow) bool) error {
	keys, values := make([]guardFlowKey, flowBatch), make([]guardFlow, flowBatch)
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
	return g.putFlow(k, peer, g.maps.Flows, &guardFlow{Seen: monotonic(), Established: 1})
}

// AddHalfOpen lets a peer pass whose cookie a worker has verified, for a handshake with the server. It returns ErrHalfOpen if
// the peer's source or prefix has too many.
func (g *Programs) AddHalfOpen(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	if err == nil && !g.known(key) && !g.takeHalfOpen(peer.Addr()) {
		err = ErrHalfOpen
	}
	if err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	return g.putFlow(k, peer, g.maps.HalfOpen, &guardFlow{Seen: monotonic()})
}

// known reports whether a peer has a flow, or a half-open one that is not forgotten, as known_flow and known_half_open of
// services.h do: half-open entries remain in the map beyond their time.
func (g *Programs) known(key *guardFlowKey) bool {
	var f guardFlow
	if g.maps.Flows.Lookup(key, &f) == nil {
		return true
	}
	if g.maps.HalfOpen.Lookup(key, &f) != nil {
		return false
	}
	handshake := atomic.LoadUint64(&g.control.HalfOpenBurst) // its timeout
	return handshake == 0 || monotonic() <= f.Seen+handshake
}

// AddUnproved lets a peer pass that showed no cookie, for a handshake with the server. It counts for nobody's share of half-open
// flows, because nothing proves that the peer's address is its own.
func (g *Programs) AddUnproved(k ServiceKey, peer netip.AddrPort) error {
	return g.putFlow(k, peer, g.maps.HalfOpen, &guardFlow{Seen: monotonic()})
}

func (g *Programs) putFlow(k ServiceKey, peer netip.AddrPort, m *ebpf.Map, f *guardFlow) error {
	key, err := g.flowKey(k, peer)
	if err == nil {
		err = m.Put(key, f)
	}
	if err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	return nil
}

// DeleteFlow removes a flow that AddFlow, AddHalfOpen or a valid cookie added.
func (g *Programs) DeleteFlow(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	for _, m := range []*ebpf.Map{g.maps.Flows, g.maps.HalfOpen} {
		if err == nil {
			if err = m.Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
				err = nil
			}
		}
	}
	if err != nil {
		return fmt.Errorf("delete flow of %v: %w", peer, err)
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
