package bpf

import (
	"encoding/binary"
	"net"
	"sync/atomic"
)

// Senders returns the source addresses of the frames to services that came since the call before: of up to 64 routers, of
// those that share an element the last.
func (g *Programs) Senders() (macs []net.HardwareAddr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.senders == nil {
		return nil
	}
	for i := range g.senders.Mac {
		if v := atomic.SwapUint64(&g.senders.Mac[i], 0); v != 0 {
			var b [8]byte
			binary.NativeEndian.PutUint64(b[:], v)
			macs = append(macs, b[:6])
		}
	}
	return macs
}
