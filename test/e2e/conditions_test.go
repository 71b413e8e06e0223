package e2e

import (
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
)

// TestConditions: over paths that duplicate and reorder datagrams handshakes finish through the guard wherever they finish
// without it. Losses are TestRoundTrips's and make test-loss's.
func TestConditions(t *testing.T) {
	t.Parallel()
	const delay = 5 * time.Millisecond
	paths := map[string]netpath.Conditions{
		"duplicates": {Duplicate: 0.5, Delay: delay},
		"reorders":   {Reorder: 0.3, Delay: delay},
		"both":       {Duplicate: 0.3, Reorder: 0.3, Delay: delay},
	}
	for i := range stacks {
		s := &stacks[i]
		t.Run(s.server+" "+s.mode, func(t *testing.T) {
			t.Parallel()
			direct, guarded := s.both(t, roomy)
			for name, c := range paths {
				for seed := range uint64(3) {
					c.Seed = seed
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						s.finish(t, direct, guarded, c)
					})
				}
			}
		})
	}
}

// finish has clients handshake over a path, to the server and through the guard.
func (s *stack) finish(t *testing.T, direct, guarded netip.AddrPort, c netpath.Conditions) {
	t.Helper()
	const tries = 3 // two clients at a time may share a cookie, and a busy machine makes libraries give up
	for range tries {
		if s.measure(t, direct, c.Decide, patience).took == never {
			return
		}
		if s.measure(t, guarded, c.Decide, patience).took < never {
			return
		}
	}
	t.Errorf("%s finishes its handshake with %s, and does not through the guard: %+v", s.client, s.server, c)
}
