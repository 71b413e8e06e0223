package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// reach refuses targets that may belong to others or that frames cannot reach.
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
		return hint.Usagef("%v is not on a network of %s; if that network is yours, add --i-own-this-network", a, t.iface)
	}
	return nil
}

// mayForge refuses sources of others, because answers go to whoever has those addresses.
func (o *options) mayForge() error {
	if o.engine == "pcap" || o.target.iface == "" || o.target.mine {
		return nil
	}
	var f traffic.Flow
	if err := o.from(&f); err != nil {
		return err
	}
	dev, err := device(o.target.iface)
	if err != nil {
		return err
	}
	near, err := dev.Addrs()
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", o.target.iface, err)
	}
	if strangers(f.Sources, prefixes(near)) {
		return hint.Usagef("--src-cidr %v is neither a benchmark prefix, such as 198.18.0.0/15, nor a network of %s, so answers may reach others; "+
			"if nothing leaves your network, add --i-own-this-network", f.Sources, o.target.iface)
	}
	return nil
}

// nobodys are prefixes that no other host uses: loopback, and those for benchmarks (RFC 2544, RFC 5180) and for documentation
// (RFC 5737, RFC 3849).
var nobodys = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:2::/48"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("2001:db8::/32"),
}

// strangers reports whether a prefix has addresses that others may use: outside nobodys and the networks near.
func strangers(sources netip.Prefix, near []netip.Prefix) bool {
	return !slices.ContainsFunc(append(near, nobodys...), func(p netip.Prefix) bool {
		return p.Bits() <= sources.Bits() && p.Contains(sources.Addr())
	})
}

// notUnicast returns why an address is not that of one host, "" if it may be. networks are this host's networks.
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

// last is the broadcast address of an IPv4 network.
func last(n netip.Prefix) netip.Addr {
	b := n.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|(1<<(32-n.Bits())-1))
	return netip.AddrFrom4(b)
}

// prefixes returns the addresses with the lengths of their networks.
func prefixes(all []net.Addr) (list []netip.Prefix) {
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			list = append(list, p)
		}
	}
	return list
}
