package frontend

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbours holds the neighbour entries of routers while a flood fills the receive ring: their ARP replies and neighbour
// advertisements are lost like everything else, the kernel considers them dead, and then nothing that the stack sends goes out:
// neither answers nor the server's own packets.
//
// What proves that a router lives are its frames to the services. Then its entry is confirmed, by MSG_CONFIRM (sendto(2)), as
// by a program that hears from its peer: that refreshes an existing entry, and can neither create one nor change its address.
// Only routers' entries are held: a host that gave up its address but still sends under another would keep its entry.
type neighbours struct {
	devices []*device
	senders func() []net.HardwareAddr // of frames since the last call
	log     *slog.Logger

	seen    map[string]time.Time    // by MAC
	holding map[neighbour]time.Time // since the log said so
	routers map[neighbour]router
}

// neighbour is one on an interface, which is named by its index.
type neighbour struct {
	index int
	addr  netip.Addr
}

const (
	// holdEvery: an entry in use that nothing confirms is probed delay_first_probe_time after it went stale: 5 s by default, at
	// least 1 s (arp(7)).
	holdEvery = 250 * time.Millisecond
	// livesFor is how long a frame proves that its sender lives. Senders that share an array element overwrite each other.
	livesFor = 5 * time.Second
	// routesEvery is how long a change of routes may go unnoticed.
	routesEvery = time.Minute
	// sayEvery keeps the log short while an entry is held again and again.
	sayEvery = 10 * time.Minute
)

func newNeighbours(devices []*device, senders func() []net.HardwareAddr, log *slog.Logger) *neighbours {
	return &neighbours{devices: devices, senders: senders, log: log, seen: make(map[string]time.Time), holding: make(map[neighbour]time.Time), routers: make(map[neighbour]router)}
}

// run holds entries until ctx ends.
func (n *neighbours) run(ctx context.Context) {
	t := time.NewTicker(holdEvery)
	defer t.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		err := n.hold(time.Now())
		if err != nil && !failed {
			n.log.Warn("neighbour entries of routers cannot be held: if a flood fills the receive ring, they may be lost", "error", err)
		}
		failed = err != nil
	}
}

// hold confirms the entries of live routers that the kernel is about to probe.
func (n *neighbours) hold(now time.Time) error {
	for _, mac := range n.senders() {
		n.seen[string(mac)] = now
	}
	maps.DeleteFunc(n.seen, func(_ string, last time.Time) bool { return now.Sub(last) > livesFor })
	maps.DeleteFunc(n.routers, func(_ neighbour, r router) bool { return now.Sub(r.at) > routesEvery })
	maps.DeleteFunc(n.holding, func(_ neighbour, said time.Time) bool { return now.Sub(said) > sayEvery })
	if len(n.seen) == 0 {
		return nil
	}
	var errs []error
	for _, d := range n.devices {
		if d.lost.Load() == nil {
			errs = append(errs, n.holdOn(d, now))
		}
	}
	return errors.Join(errs...)
}

// holdOn does it for one interface.
func (n *neighbours) holdOn(d *device, now time.Time) error {
	dev, err := netlink.LinkByName(d.at().Name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", d.name, err)
	}
	entries, err := netlink.NeighListExecute(netlink.Ndmsg{Index: uint32(dev.Attrs().Index), State: netlink.NUD_DELAY})
	if err != nil {
		return fmt.Errorf("list the neighbours on %s: %w", d.name, err)
	}
	for _, e := range entries {
		if _, lives := n.seen[string(e.HardwareAddr)]; !lives || e.State != netlink.NUD_DELAY {
			continue
		}
		addr, ok := netip.AddrFromSlice(e.IP)
		if !ok || !n.isRouter(e, addr, now) {
			continue
		}
		if err := confirm(addr.Unmap(), dev); err != nil {
			return fmt.Errorf("confirm %v: %w", addr, err)
		}
		d.held.Add(1)
		key := neighbour{e.LinkIndex, addr}
		if last, ok := n.holding[key]; !ok || now.Sub(last) > sayEvery {
			n.holding[key] = now
			n.log.Info("neighbour entry held: the router's frames arrive", "interface", d.name, "router", addr, "address", e.HardwareAddr.String())
		}
	}
	return nil
}

// isRouter reports whether some route goes by e, of any table (ip rule, VRF). Tables may be large, so an answer is kept for a while.
func (n *neighbours) isRouter(e netlink.Neigh, addr netip.Addr, now time.Time) bool {
	key := neighbour{e.LinkIndex, addr}
	if known, ok := n.routers[key]; ok && now.Sub(known.at) < routesEvery {
		return known.is
	}
	is := false
	_ = netlink.RouteListFilteredIter(e.Family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool { // an error finds none
		is = r.LinkIndex == e.LinkIndex && r.Gw.Equal(e.IP)
		for _, hop := range r.MultiPath {
			is = is || hop.LinkIndex == e.LinkIndex && hop.Gw.Equal(e.IP)
		}
		return !is
	})
	n.routers[key] = router{is, now}
	return is
}

// router caches whether an address is a router's.
type router struct {
	is bool
	at time.Time
}

// confirm tells the kernel that the neighbour at addr is reachable. MSG_PROBE: nothing is sent. It needs no privilege.
func confirm(addr netip.Addr, dev netlink.Link) error {
	family, to := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16(), Port: discard, ZoneId: uint32(dev.Attrs().Index)})
	if addr.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.As4(), Port: discard}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.BindToDevice(fd, dev.Attrs().Name); err != nil { // whatever other routes there are
		return err
	}
	return unix.Sendto(fd, nil, unix.MSG_CONFIRM|msgProbe, to)
}

// msgProbe is MSG_PROBE of linux/socket.h, which x/sys lacks.
const msgProbe = 0x10

// discard is the port of a destination that nothing is sent to (RFC 863).
const discard = 9
