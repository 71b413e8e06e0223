package e2e

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
)

// TestLostAnswerCostsNoFlight: a client whose first HelloVerifyRequest was lost has had one with a record number that the server,
// which was asked once, would give its ServerHello. The client must accept the server's first flight all the same.
func TestLostAnswerCostsNoFlight(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, echoServer(t, address("127.0.0.1", freePort(t)), "replay").addr)
			var lost atomic.Bool
			p := startPath(t, g.addr, func(s *step) verdict {
				if !s.fromClient && !lost.Swap(true) {
					return drop
				}
				return pass
			})
			c := dial(t, p.addr)
			c.ping("ping after a lost answer")
			number := func(s *step) uint64 { return binary.BigEndian.Uint64(s.data[3:]) & (1<<48 - 1) }
			seen := map[uint64]bool{}
			for _, s := range p.seen(func(s *step) bool {
				return !s.fromClient && len(s.data) > 13 && binary.BigEndian.Uint16(s.data[3:]) == 0
			})[1:] {
				if seen[number(&s)] {
					t.Errorf("the client had record %d twice", number(&s))
				}
				seen[number(&s)] = true
			}
			c.close()
		})
	}
}
