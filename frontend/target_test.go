package frontend

import (
	"math"
	"testing"
)

// TestClientsByWeight: each back end has its share, and when one goes, nobody moves but its own clients.
func TestClientsByWeight(t *testing.T) {
	backends := []*liveBackend{{weight: 1, seed: seedOf("a:1")}, {weight: 2, seed: seedOf("b:1")}, {weight: 5, seed: seedOf("c:1")}}
	const clients = 1 << 14
	pick := func(ip *[16]byte, among []*liveBackend) (best *liveBackend) {
		high := 0.0
		for _, e := range among {
			if s := e.score(ip); best == nil || s > high {
				best, high = e, s
			}
		}
		return best
	}
	count := make(map[*liveBackend]int)
	for i := range clients {
		ip := [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 0, 14: byte(i >> 8), 15: byte(i)}
		all := pick(&ip, backends)
		count[all]++
		if less := pick(&ip, backends[1:]); all != backends[0] && less != all {
			t.Fatalf("client %d moves because another back end is gone", i)
		}
	}
	for _, e := range backends {
		share, want := float64(count[e])/clients, e.weight/8
		if math.Abs(share-want) > 0.02 {
			t.Errorf("weight %v has %.3f of the clients, want %.3f", e.weight, share, want)
		}
	}
}
