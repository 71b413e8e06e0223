package peers

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Listens reports whether somebody in the network namespace of a process has a UDP socket of that port and of a family
// that takes datagrams to that address: for IPv4 those of IPv6 count too, as they may be dual-stack. It only looks: a
// server that is asked may start a handshake, and to bind its address would keep it from the server.
func Listens(pid int, at netip.AddrPort) bool {
	tables := []string{"udp6"}
	if at.Addr().Unmap().Is4() {
		tables = append(tables, "udp")
	}
	for _, table := range tables {
		sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err == nil && strings.Contains(string(sockets), fmt.Sprintf(":%04X ", at.Port())) {
			return true
		}
	}
	return false
}
