package frontend

import (
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"
)

// A back end that does not answer is named once in what /readyz says of it.
func TestReasonNamesTheBackEndOnce(t *testing.T) {
	t.Parallel()
	s, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := s.LocalAddr().String()
	_ = s.Close() // nobody listens there
	v := &service{name: "turn", config: &Config{ResolveEvery: time.Minute}, log: slog.New(slog.DiscardHandler)}
	v.now.Store(&serving{settings: new(Settings)})
	b := newTarget(v, Backend{Address: at})
	v.targets = []*target{b}
	b.fail(b.follow(t.Context()))
	if r := v.readiness(); r.Ready || len(r.Reasons) != 1 || strings.Count(r.Reasons[0], at) != 1 || !strings.Contains(r.Reasons[0], "no answer") {
		t.Errorf("got %+v", r)
	}
}
