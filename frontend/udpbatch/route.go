package udpbatch

import (
	"net/netip"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// NewRoute makes a route to peer. What goes along it has the source address that the kernel picks, unless
// From names another.
func NewRoute(peer netip.AddrPort) Route {
	sa := sockaddr6(peer)
	r := Route{name: unix.RawSockaddrInet6{
		Family: unix.AF_INET6, Port: ntohs(peer.Port()), Addr: sa.Addr, Scope_id: sa.ZoneId,
	}}
	if a := peer.Addr().Unmap(); a.Is4() { // sockets of both families take this form
		r.name = unix.RawSockaddrInet6{}
		*r.name4() = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: ntohs(peer.Port()), Addr: a.As4()}
	}
	copy(r.local[:], (&ipv6.ControlMessage{Src: make([]byte, 16), IfIndex: 1}).Marshal())
	return r
}

// From makes local, IPv4 as v4-mapped, the source of what goes along r. It must be an address of this host.
func (r *Route) From(local [16]byte) { r.pin(&unix.Inet6Pktinfo{Addr: local}) }

// Local is the address of this host that the datagram was sent to, and whether the socket tells it: only one
// that is bound to a wildcard does.
func (r *Route) Local() (local [16]byte, ok bool) {
	copy(local[:], r.local[unix.SizeofCmsghdr:])
	return local, r.pinned
}
