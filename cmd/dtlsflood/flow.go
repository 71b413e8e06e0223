package main

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// flow returns the addresses of the flood.
func (o *options) flow() (*traffic.Flow, error) {
	f := &traffic.Flow{Destination: o.target.addr}
	if err := o.from(f); err != nil {
		return nil, err
	}
	if o.plain() {
		return f, nil
	}
	if o.target.mac != "" {
		var err error
		if f.Peer, err = net.ParseMAC(o.target.mac); err != nil {
			return nil, hint.Usagef("-m: %w", err)
		}
		const group = 1 // of the first byte's bits, the one that broadcast and multicast addresses have
		if len(f.Peer) == 6 && f.Peer[0]&group != 0 {
			return nil, hint.Usagef("-m %s: is the address of a group; want the address of one host", o.target.mac)
		}
	}
	if o.engine == "pcap" && o.target.iface == "" { // the player fills in its own
		f.Interface = &net.Interface{HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}
	} else {
		var err error
		if f.Interface, err = device(o.target.iface); err != nil {
			return nil, err
		}
	}
	switch {
	case f.Peer != nil:
	case o.engine == "pcap":
		f.Peer = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	default:
		var err error
		if f.Peer, err = neighbour(f.Interface, o.target.addr.Addr()); err != nil {
			return nil, err
		}
	}
	if err := f.Check(); err != nil {
		return nil, hint.Usage(err)
	}
	return f, nil
}

// from reads the sources; the default is the benchmarking prefixes (RFC 2544, RFC 5180).
func (o *options) from(f *traffic.Flow) (err error) {
	sources := o.traffic.sources
	switch {
	case sources != "":
	case o.plain(): // the addresses there are on loopback
	case o.target.addr.Addr().Is6():
		sources = "2001:2:0:8000::/96"
	default:
		sources = "198.18.128.0/17"
	}
	if sources != "" {
		if f.Sources, err = netip.ParsePrefix(sources); err != nil {
			return hint.Usagef("--src-cidr: %w", err)
		}
	}
	if o.traffic.ports != "" {
		if n, err := fmt.Sscanf(o.traffic.ports, "%d-%d", &f.Ports.First, &f.Ports.Last); n != 2 {
			return hint.Usagef("--src-ports %s: want FIRST-LAST: %w", o.traffic.ports, err)
		}
	}
	return nil
}

// plain reports whether datagrams are sent from sockets, not as frames.
func (o *options) plain() bool { return o.engine == "sendmmsg" && o.target.iface == "" }

// device is the interface of that name.
func device(name string) (*net.Interface, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, hint.Usagef("-i %s: %w (ip link lists the interfaces)", name, err)
	}
	const ethernet = 6
	if len(dev.HardwareAddr) != ethernet {
		return nil, hint.Usagef("-i %s: it has no Ethernet address, which frames need; loopback is reached without -i", name)
	}
	if dev.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("-i %s: it is down (ip link set %s up)", name, name)
	}
	return dev, nil
}

// neighbour asks the kernel for the Ethernet address that leads to an address: its own on the interface's network, else
// the router's.
func neighbour(dev *net.Interface, to netip.Addr) (net.HardwareAddr, error) {
	family := unix.AF_INET
	if to.Is6() {
		family = unix.AF_INET6
	}
	hop := net.IP(to.AsSlice())
	routes, err := netlink.RouteGetWithOptions(hop, &netlink.RouteGetOptions{Oif: dev.Name})
	if err == nil && len(routes) > 0 && routes[0].Gw != nil {
		hop = routes[0].Gw
	}
	all, err := netlink.NeighList(dev.Index, family)
	if err != nil {
		return nil, fmt.Errorf("list neighbours of %s: %w", dev.Name, err)
	}
	for _, n := range all {
		if n.IP.Equal(hop) && len(n.HardwareAddr) == 6 {
			return n.HardwareAddr, nil
		}
	}
	return nil, fmt.Errorf("the Ethernet address of %v is not known on %s: ping it first, or give it with -m", hop, dev.Name)
}
