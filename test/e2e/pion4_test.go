package e2e

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v4"
	"github.com/pion/dtls/v4/pkg/protocol"
)

// pion4 starts such a client; least is the lowest version that it accepts.
func pion4(least protocol.Version) dialer {
	return func(t *testing.T, addr netip.AddrPort) association {
		t.Helper()
		c, err := dialPion4(t, addr, least, patience)
		if err != nil {
			t.Fatalf("pion v4: %v", err)
		}
		return c
	}
}

func dialPion4(t *testing.T, addr netip.AddrPort, least protocol.Version, within time.Duration) (*pionClient, error) {
	t.Helper()
	conn, err := dtls.Dial("udp", net.UDPAddrFromAddrPort(addr), dtls.WithInsecureSkipVerify(true), dtls.WithMinVersion(least))
	if err != nil {
		return nil, err
	}
	return handshaken(t, conn, within)
}
