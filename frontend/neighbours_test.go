package frontend

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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

// TestRouterOfAnotherTable: a router is known by whichever table of routes has it (ip rule, VRF).
func TestRouterOfAnotherTable(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a network namespace of its own takes root")
	}
	done := make(chan struct{})
	go func() { // whose thread ends with it, and the network namespace with the thread
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "near"}, PeerName: "far"}
		address, err := netlink.ParseAddr("198.18.0.1/24")
		if err == nil {
			err = errors.Join(netlink.LinkAdd(link), netlink.AddrAdd(link, address), netlink.LinkSetUp(link))
		}
		for table, gateway := range map[int]string{unix.RT_TABLE_MAIN: "198.18.0.2", 100: "198.18.0.3"} {
			err = errors.Join(err, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Index, Gw: net.ParseIP(gateway), Table: table}))
		}
		if err != nil {
			t.Error(err)
			return
		}
		n := newNeighbours(nil, nil, slog.New(slog.DiscardHandler))
		for address, want := range map[string]bool{"198.18.0.2": true, "198.18.0.3": true, "198.18.0.4": false} {
			a := netip.MustParseAddr(address)
			if got := n.isRouter(netlink.Neigh{LinkIndex: link.Index, Family: netlink.FAMILY_V4, IP: a.AsSlice()}, a, time.Now()); got != want {
				t.Errorf("%s is a router: %v, want %v", address, got, want)
			}
		}
	}()
	<-done
}
