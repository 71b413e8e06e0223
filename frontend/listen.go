package frontend

import (
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// listen opens a socket for each worker. The first is bound without SO_REUSEPORT, so that a port in use is noticed: otherwise
// another program of this user could share the port and would get half the clients. Then SO_REUSEPORT is set on that socket
// itself: if it were closed and bound again, another guard could take the port in between.
func listen(addr netip.AddrPort, c *Config) ([]*udpbatch.Conn, error) {
	options := c.socketOptions()
	first, err := udpbatch.Listen(addr, options)
	if err != nil {
		return nil, err
	}
	conns := []*udpbatch.Conn{first}
	addr = netip.AddrPortFrom(addr.Addr(), first.Local().Port())
	options.ReusePort = true
	err = first.Share()
	for len(conns) < c.Workers && err == nil {
		var conn *udpbatch.Conn
		if conn, err = udpbatch.Listen(addr, options); err == nil {
			conns = append(conns, conn)
		}
	}
	if err != nil {
		closeAll(conns)
		return nil, err
	}
	return conns, nil
}

// listenInline opens sockets at the address of an inline server, with a port of their own, 0 for any, which XDP diverts
// ClientHellos to.
func listenInline(server netip.AddrPort, port uint16, c *Config) ([]*udpbatch.Conn, error) {
	conns, err := listen(netip.AddrPortFrom(server.Addr(), port), c)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil, hint.Errorf("give an address that ip address lists, for one that comes later (keepalived) setting freebind, or for a server on another host setting listen and setting backend",
			"setting protect %v: no interface of this host has the address", server)
	}
	return conns, err
}

// listenBeside opens n sockets next to those of the guard before, which has the port and shares it with this user's sockets.
func listenBeside(addr netip.AddrPort, n int, c *Config) (conns []*udpbatch.Conn, err error) {
	options := c.socketOptions()
	options.ReusePort = true
	for range n {
		conn, err := udpbatch.Listen(addr, options)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// overlap reports whether sockets at a and at b compete for datagrams.
func overlap(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && (receives(a.Addr(), b.Addr()) || receives(b.Addr(), a.Addr()))
}

// receives reports whether a socket at address a gets what is sent to b.
func receives(a, b netip.Addr) bool {
	switch {
	case !a.IsUnspecified():
		return a == b
	case a.Is4():
		return b.Is4()
	}
	return true // [::] takes IPv4, too
}

// socketOptions are those of listening sockets: room for an answer to each question.
func (c *Config) socketOptions() udpbatch.Options {
	return udpbatch.Options{ReceiveBuffer: c.ReceiveBuffer, SendBuffer: c.ReceiveBuffer, FreeBind: c.FreeBind}
}

func closeAll(conns []*udpbatch.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// allowedCPUs returns the CPUs that this process may run on.
func allowedCPUs() (cpus []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}
