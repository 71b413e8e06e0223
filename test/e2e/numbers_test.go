package e2e

import (
	"sync/atomic"
	"testing"
)

// TestLostAnswerCostsNoFlight: a client whose first HelloVerifyRequest was lost has had one with a record number that the server,
// which was asked once, would give its ServerHello. The client takes the server's first flight all the same.
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
			hellos := p.seen(func(s *step) bool { return !s.fromClient && len(s.data) > 13 && s.data[0] == 22 && s.data[13] == 2 })
			if len(hellos) != 1 {
				t.Errorf("the server sent its ServerHello %d times", len(hellos))
			}
			c.close()
		})
	}
}
