package frontend

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// A server on the wildcard of IPv6 may have that alone: it is asked there at once.
func TestServerOfIPv6AloneIsAsked(t *testing.T) {
	t.Parallel()
	s, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6unspecified}) // IPV6_V6ONLY is set
	if err != nil {
		t.Skip("no IPv6:", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go alerting(s)
	port := s.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	c := &Config{MaxFlows: 8}
	v := &service{
		config: c, log: slog.New(slog.DiscardHandler), inline: true, budget: relay.NewBudget(c.limits()),
		port: port, listen: netip.AddrPortFrom(netip.IPv6Unspecified(), port),
	}
	v.now.Store(&serving{settings: &Settings{Handoff: handoff.Limit}})
	if v.lookInline(t.Context()); !v.inlineHealth().up {
		t.Errorf("it counts as down: %v", v.inlineHealth().why)
	}
}

// alerting answers everything with a fatal alert (RFC 5246 section 7.2).
func alerting(s *net.UDPConn) {
	b := make([]byte, 1<<12)
	for {
		_, from, err := s.ReadFromUDPAddrPort(b)
		if err != nil {
			return
		}
		_, _ = s.WriteToUDPAddrPort([]byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40}, from)
	}
}
