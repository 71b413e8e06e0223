package frontend

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A host on the link that takes one address after the other is not remembered for longer than what is known of it holds.
func TestNeighboursForget(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	n := newNeighbours(nil, func() []net.HardwareAddr { return []net.HardwareAddr{mac} }, slog.New(slog.DiscardHandler))
	now := time.Now()
	for i := range 1000 {
		key := neighbour{1, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}
		n.routers[key] = router{true, now}
		n.holding[key] = now
	}
	if err := n.hold(now.Add(routesEvery / 2)); err != nil || len(n.routers) != 1000 {
		t.Fatalf("%d addresses, %v", len(n.routers), err)
	}
	if err := n.hold(now.Add(2 * sayEvery)); err != nil || len(n.routers) != 0 || len(n.holding) != 0 {
		t.Errorf("%d addresses and %d that were held are remembered, %v", len(n.routers), len(n.holding), err)
	}
}
