package e2e

import (
	"encoding/binary"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/netpath"
)

// TestLostAnswerCostsNoFlight: after a lost HelloVerifyRequest a client has received a second one, whose record number the server,
// which was asked once, uses again for its ServerHello. The client must accept the server's first flight all the same.
func TestLostAnswerCostsNoFlight(t *testing.T) {
	t.Parallel()
	for name, dial := range map[string]dialer{"openssl": openssl(), "gnutls": gnutls(), "pion": pion()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, echoServer(t, address("127.0.0.1", freePort(t)), "replay").addr)
			var lost atomic.Bool
			p := startPath(t, g.addr, func(d *netpath.Datagram) netpath.Fate {
				if !d.FromClient && !lost.Swap(true) {
					return netpath.Drop
				}
				return netpath.Pass
			})
			c := dial(t, p.Addr)
			c.ping("ping after a lost answer")
			number := func(d *netpath.Datagram) uint64 { return binary.BigEndian.Uint64(d.Data[3:]) & (1<<48 - 1) }
			seen := map[uint64]bool{}
			for _, d := range p.Seen(func(d *netpath.Datagram) bool {
				return !d.FromClient && len(d.Data) > 13 && binary.BigEndian.Uint16(d.Data[3:]) == 0
			})[1:] {
				if seen[number(&d)] {
					t.Errorf("the client received record %d twice", number(&d))
				}
				seen[number(&d)] = true
			}
			c.close()
		})
	}
}
