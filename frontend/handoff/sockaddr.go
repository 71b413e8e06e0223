package handoff

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// appendSockaddr appends what recvfrom(2) returns to a server on Linux for a datagram from e: 16 bytes for IPv4, 28 for
// IPv6 and, if mapped, for IPv4 on an IPv6 socket. The address family is in the byte order of the server's CPU, assumed
// to be the guard's. The flow label is 0, unless the server has set IPV6_FLOWINFO_SEND.
func appendSockaddr(m []byte, e *udpbatch.Endpoint, mapped bool) []byte {
	if ip := netip.AddrFrom16(e.IP); ip.Is4In6() && !mapped {
		a := ip.Unmap().As4()
		m = binary.NativeEndian.AppendUint16(m, unix.AF_INET)
		m = binary.BigEndian.AppendUint16(m, e.Port)
		m = append(m, a[:]...)
		return append(m, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	m = binary.NativeEndian.AppendUint16(m, unix.AF_INET6)
	m = binary.BigEndian.AppendUint16(m, e.Port)
	m = append(m, 0, 0, 0, 0)
	m = append(m, e.IP[:]...)
	return binary.NativeEndian.AppendUint32(m, e.Zone)
}
