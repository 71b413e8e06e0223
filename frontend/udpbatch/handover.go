package udpbatch

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Adopt makes a Conn of an open socket that another process has opened, and closes fd if it is none of a Conn's.
func Adopt(fd int) (*Conn, error) {
	unix.CloseOnExec(fd)
	c := &Conn{fd: fd}
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err == nil && kind != unix.SOCK_DGRAM {
		err = fmt.Errorf("it is of type %d", kind)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("take over a UDP socket: %w", err)
	}
	c.local = c.name()
	if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err == nil {
		c.v4 = family == unix.AF_INET
	}
	if mtu, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER); err == nil {
		c.whole = mtu == unix.IP_PMTUDISC_PROBE
	}
	return c, nil
}

// RouteRecord is a Route as another process can take it over.
type RouteRecord struct {
	IP        [16]byte
	Port      uint16
	Zone      uint32
	Local     [16]byte
	Interface uint32
	Pinned    bool
}

// Record is r for another process.
func (r *Route) Record() RouteRecord {
	p := r.Peer()
	info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&r.local[unix.SizeofCmsghdr]))
	return RouteRecord{IP: p.IP, Port: p.Port, Zone: p.Zone, Local: info.Addr, Interface: info.Ifindex, Pinned: r.pinned}
}

// RouteOf is the route of a record.
func RouteOf(r *RouteRecord) Route {
	to := NewRoute(Endpoint{IP: r.IP, Port: r.Port}.AddrPort())
	to.name.Scope_id = r.Zone
	if r.Pinned {
		to.pin(&unix.Inet6Pktinfo{Addr: r.Local, Ifindex: r.Interface})
	}
	return to
}
