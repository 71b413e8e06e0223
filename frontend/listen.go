package frontend

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// listen opens a socket for each worker. The first is bound alone, so that a port in use is seen: a group with
// SO_REUSEPORT would let another program of this user in, and half the clients would be served by it. Then it opens
// the group itself: closed and bound again, it could find another guard on the port.
func listen(addr netip.AddrPort, c *Config) ([]*udpbatch.Conn, error) {
	options := udpbatch.Options{ReceiveBuffer: c.ReceiveBuffer, SendBuffer: c.ReceiveBuffer, FreeBind: c.FreeBind} // an answer for each question
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

func closeAll(conns []*udpbatch.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// allowedCPUs are those that this process may run on.
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
