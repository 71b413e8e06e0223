package frontend

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

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

// A server that refuses clients is asked anew what it takes, but not as often as clients like.
func TestRefusedClientsRaiseDoubt(t *testing.T) {
	asked := time.Unix(1000, 0)
	h := health{up: true, refused: 3, asked: asked}
	for _, c := range []struct {
		refused uint64
		after   time.Duration
		want    bool
	}{{3, time.Hour, false}, {4, time.Second, false}, {4, askAnewEvery, true}} {
		if got := h.doubted(c.refused, asked.Add(c.after)); got != c.want {
			t.Errorf("%d refused, %v after it was asked: %v", c.refused, c.after, got)
		}
	}
}
