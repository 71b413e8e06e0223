package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v4"
	"github.com/pion/dtls/v4/pkg/protocol"
)

// pion4Client is a client on github.com/pion/dtls/v4.
type pion4Client struct {
	t    *testing.T
	conn *dtls.Conn
}

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

func dialPion4(t *testing.T, addr netip.AddrPort, least protocol.Version, within time.Duration) (*pion4Client, error) {
	t.Helper()
	conn, err := dtls.Dial("udp", net.UDPAddrFromAddrPort(addr), dtls.WithInsecureSkipVerify(true), dtls.WithMinVersion(least))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return &pion4Client{t, conn}, nil
}

func (c *pion4Client) ping(text string) { c.t.Helper(); c.exchange(text, text+"\n") }

func (c *pion4Client) exchange(line, answer string) {
	c.t.Helper()
	b := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
			c.t.Fatalf("pion v4: write: %v", err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(again))
		if n, err := c.conn.Read(b); err == nil && string(b[:n]) == answer {
			return
		}
	}
	c.t.Fatalf("pion v4: no %q", answer)
}

func (c *pion4Client) close() {
	c.t.Helper()
	if err := c.conn.Close(); err != nil && !errors.Is(err, io.EOF) {
		c.t.Errorf("pion v4: close: %v", err)
	}
}
