package frontend

import (
	"bytes"
	"net/netip"
	"os"
)

// forwardingFiles tell whether the host forwards packets of a family between its interfaces.
var forwardingFiles = []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"}

// transit reports whether packets that this host forwards can be taken for those of a protected address: the programs look at
// addresses and ports, not at routes.
func transit(protect netip.Addr, files []string) bool {
	if !protect.IsUnspecified() {
		return false
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && !bytes.Equal(bytes.TrimSpace(b), []byte("0")) {
			return true
		}
	}
	return false
}
