package frontend

import (
	"net/netip"

	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// Datagrams above these sizes do not fit an Ethernet frame: an MTU of 1500 without IP and UDP headers. A path may take less,
// but a server that uses its own interface's MTU sends 16 KB over the loopback, which fits no path.
const (
	largest4 = 1500 - 20 - 8
	largest6 = 1500 - 40 - 8
)

// returnedAs returns the event that counts a server's datagram of n bytes to a client at ip.
func returnedAs(n int, ip *[16]byte) metrics.Event {
	if n <= largest6 {
		return metrics.Returned
	}
	a := netip.AddrFrom16(*ip).Unmap()
	if a.Is4() && n <= largest4 || a.IsLoopback() {
		return metrics.Returned
	}
	return metrics.ReturnedLarge
}

// warnLarge warns once per service that its server's datagrams are fragmented.
func (w *worker) warnLarge() {
	n := w.large
	if w.large = 0; n > 0 && w.service.large.CompareAndSwap(false, true) {
		w.service.log.Warn("the server sends datagrams that are fragmented on their way to clients: networks that drop fragments delay or end those handshakes",
			"hint", "have the server's socket see an MTU of 1500 (docs/servers.md, \"Large flights\")")
	}
}
