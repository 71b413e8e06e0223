package peers

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Listens reports whether a process's network namespace has a UDP socket on that port that receives datagrams to that
// address: for IPv4 also one of IPv6, which may be dual-stack. It only reads tables: a server that is asked may start a
// handshake, and binding its address would block it.
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
