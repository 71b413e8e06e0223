package handoff

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// answering starts a UDP server that answers what it is sent in a way of its own.
func answering(t *testing.T, answer func(d []byte) []byte) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(answer(b[:n]), from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// A server that answers something else than DTLS serves nobody, whatever the setting.
func TestOtherServersAreRefused(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func([]byte) []byte{
		"echo": func(d []byte) []byte { return d },
		"text": func([]byte) []byte { return []byte("what do you want?\n") },
		"byte": func([]byte) []byte { return []byte{0} },
		"DNS":  func(d []byte) []byte { return append([]byte{d[0], d[1], 0x80, 1}, make([]byte, 8)...) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := answering(t, answer)
			for _, mode := range []Mode{Auto, Reset, Harvest} {
				b, err := Open(t.Context(), Config{Server: at, Mode: mode, Log: slog.New(slog.DiscardHandler)})
				if err == nil {
					b.Close()
				}
				if !errors.Is(err, errNotDTLS) || hint.Of(err) == "" {
					t.Errorf("%v: %v", mode, err)
				}
			}
			if _, err := ProbeInline(t.Context(), at, Auto, nil, 0); !errors.Is(err, errNotDTLS) {
				t.Errorf("inline: %v", err)
			}
			if err := Ask(t.Context(), at); !errors.Is(err, errNotDTLS) {
				t.Errorf("asked: %v", err)
			}
		})
	}
}
