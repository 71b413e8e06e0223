package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// reach refuses targets that may belong to others, and those that no frame would reach.
func (t *target) reach(engine string) error {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this host's addresses: %w", err)
	}
	a := t.addr.Addr()
	if why := notUnicast(a, prefixes(all)); why != "" {
		return hint.Usagef("-d %v: %s; want the address of one service", a, why)
	}
	switch {
	case engine == "pcap":
		return nil
	case t.iface == "" && engine == "xdp":
		return hint.Usagef("engine xdp needs -i INTERFACE")
	case t.iface == "":
		if !a.IsLoopback() {
			return hint.Usagef("-d %v: without -i INTERFACE only 127.0.0.0/8 and ::1 are possible targets", a)
		}
		return nil
	case a.IsLoopback():
		return hint.Usagef("-d %v is this host itself, not behind %s: leave out -i, and sendmmsg sends to it from sockets", a, t.iface)
	}
	dev, err := device(t.iface)
	if err != nil {
		return err
	}
	near, err := dev.Addrs()
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", t.iface, err)
	}
	contains := func(p netip.Prefix) bool { return p.Contains(a) }
	switch {
	case slices.ContainsFunc(prefixes(all), func(p netip.Prefix) bool { return p.Addr() == a }):
		return hint.Usagef("-d %v is this host's own, and frames that leave by %s do not come back to it; sendmmsg without -i sends to 127.0.0.0/8 and ::1", a, t.iface)
	case !t.mine && !slices.ContainsFunc(prefixes(near), contains):
		return hint.Usagef("%v is not on a network of %s; only to a network that is yours, send with --i-own-this-network", a, t.iface)
	}
	return nil
}

// notUnicast says why an address is not that of one host, "" if it may be. networks are those that this host is on.
func notUnicast(a netip.Addr, networks []netip.Prefix) string {
	switch {
	case a.IsUnspecified():
		return "is not an address"
	case a.IsMulticast():
		return "is a multicast group"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is broadcast"
	}
	for _, n := range networks {
		if a.Is4() && n.Addr().Is4() && n.Bits() < 31 && n.Contains(a) && (a == n.Masked().Addr() || a == last(n)) {
			return fmt.Sprintf("is broadcast on %v", n.Masked())
		}
	}
	return ""
}

// last is the address of an IPv4 network that has all bits of the host set.
func last(n netip.Prefix) netip.Addr {
	b := n.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-n.Bits())-1))
	return netip.AddrFrom4(b)
}

// prefixes are the addresses with their networks' lengths.
func prefixes(all []net.Addr) (list []netip.Prefix) {
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p)
		}
	}
	return list
}
