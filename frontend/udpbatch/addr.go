package udpbatch

import (
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Endpoint is a UDP peer: a comparable value, so that it can be a map's key.
type Endpoint struct {
	IP   [16]byte // IPv4 as v4-mapped
	Port uint16
	Zone uint32 // interface index of a link-local address
}

// AddrPort is e in the form that people read.
func (e Endpoint) AddrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(e.IP).Unmap(), e.Port)
}

// ntohs turns a port as the kernel stores it (big-endian in memory) into a number, and back.
func ntohs(v uint16) uint16 {
	if littleEndian {
		return bits.ReverseBytes16(v)
	}
	return v
}

// sockaddr is a for a socket of c's family.
func (c *Conn) sockaddr(a netip.AddrPort) unix.Sockaddr {
	if c.v4 {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().Unmap().As4()}
	}
	return sockaddr6(a)
}

func sockaddr6(a netip.AddrPort) *unix.SockaddrInet6 {
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if z := a.Addr().Zone(); z != "" {
		sa.ZoneId = zoneIndex(z)
	}
	return sa
}
