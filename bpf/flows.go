package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
)

// Flow is a peer that has proved its address to a service.
type Flow struct {
	Peer        netip.AddrPort
	Service     ServiceKey
	Idle        time.Duration // since its last packet, a second coarse
	Established bool          // learned from the server's own records, not from a cookie
}

// Flows calls yield for each flow until it returns false. Flows that come and go meanwhile may be missed.
func (g *Programs) Flows(yield func(Flow) bool) error {
	g.mu.Lock()
	names := make(map[uint32]ServiceKey)
	for i := range g.slots {
		if g.slots[i].used {
			names[g.slots[i].id] = g.slots[i].key
		}
	}
	flows, now := g.maps.Flows, monotonic()
	g.mu.Unlock()
	if flows == nil {
		return ErrClosed
	}
	var k guardFlowKey
	var v guardFlow
	it := flows.Iterate()
	for it.Next(&k, &v) {
		service, ok := names[k.Service]
		if !ok {
			continue // of a service that is no more
		}
		f := Flow{netip.AddrPortFrom(addr(k.Peer), uint16(k.Port)), service, time.Duration(now - min(now, v.Seen)), v.Established != 0}
		if !yield(f) {
			return nil
		}
	}
	// An LRU map under traffic may throw the iterator's place out: what was seen is what there is to tell.
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("list verified flows: %w", err)
	}
	return nil
}

// VerifiedFlows counts the flows of all services.
func (g *Programs) VerifiedFlows() (n int, err error) {
	err = g.Flows(func(Flow) bool { n++; return true })
	return n, err
}

// AddFlow lets a peer through that has proved its address in another way than by a cookie of format v1.
func (g *Programs) AddFlow(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	if err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	if err := g.maps.Flows.Put(key, &guardFlow{Seen: monotonic()}); err != nil {
		return fmt.Errorf("add flow of %v: %w", peer, err)
	}
	return nil
}

// DeleteFlow takes back what AddFlow or a cookie gave.
func (g *Programs) DeleteFlow(k ServiceKey, peer netip.AddrPort) error {
	key, err := g.flowKey(k, peer)
	if err != nil {
		return fmt.Errorf("delete flow of %v: %w", peer, err)
	}
	if err := g.maps.Flows.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
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
	return &guardFlowKey{Peer: words(peer.Addr()), Port: uint32(peer.Port()), Service: g.slots[i].id}, nil
}
