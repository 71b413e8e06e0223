package lab

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// association is a client connected to a server.
type association interface {
	// ping sends a line and waits for its echo.
	ping(text string)
	// close ends the association with close_notify.
	close()
}

// dialer starts a client in the lab's client host. The first ping shows that the handshake succeeded.
type dialer func(t *testing.T, l *lab.Lab, to netip.AddrPort) association

// openssl is openssl s_client.
func openssl(args ...string) dialer {
	return func(t *testing.T, l *lab.Lab, to netip.AddrPort) association {
		t.Helper()
		need(t, "openssl")
		return &commandClient{start(t, l.Client, "openssl",
			append([]string{"s_client", "-dtls1_2", "-connect", to.String()}, args...)...)}
	}
}

// gnutls is gnutls-cli.
func gnutls(args ...string) dialer {
	return func(t *testing.T, l *lab.Lab, to netip.AddrPort) association {
		t.Helper()
		need(t, "gnutls-cli")
		return &commandClient{start(t, l.Client, "gnutls-cli",
			append([]string{"--udp", "--insecure", "--port", strconv.Itoa(int(to.Port())), to.Addr().String()}, args...)...)}
	}
}

// commandClient is a program that sends its standard input.
type commandClient struct{ *process }

func (c *commandClient) ping(text string) { c.t.Helper(); c.Say(text); c.Expect(text + "\n") }

func (c *commandClient) close() {
	c.t.Helper()
	_ = c.Stdin.Close()
	if status := c.End(); status != 0 {
		c.t.Errorf("%s: exit status %d", c.Cmd.Path, status)
	}
}

// pionClient is a client on github.com/pion/dtls.
type pionClient struct {
	t    *testing.T
	conn *dtls.Conn
}

func pion(t *testing.T, l *lab.Lab, to netip.AddrPort) association {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := dialPion(ctx, t, l, to)
	if err != nil {
		t.Fatalf("pion: %v", err)
	}
	return c
}

// dialPion opens an association from a socket in the client host.
func dialPion(ctx context.Context, t *testing.T, l *lab.Lab, to netip.AddrPort) (*pionClient, error) {
	var socket *net.UDPConn
	if err := l.Client.Do(func() (err error) {
		socket, err = net.ListenUDP("udp", nil)
		return err
	}); err != nil {
		return nil, err
	}
	conn, err := dtls.ClientWithOptions(socket, net.UDPAddrFromAddrPort(to), dtls.WithInsecureSkipVerify(true))
	if err != nil {
		socket.Close()
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &pionClient{t, conn}, conn.HandshakeContext(ctx)
}

func (c *pionClient) ping(text string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(text + "\n")); err != nil {
		c.t.Fatalf("pion: write: %v", err)
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	var got strings.Builder
	for b := make([]byte, 2048); !strings.HasSuffix(got.String(), text+"\n"); {
		n, err := c.conn.Read(b)
		if err != nil {
			c.t.Fatalf("pion: read after %q: %v", got.String(), err)
		}
		got.Write(b[:n])
	}
}

func (c *pionClient) close() { _ = c.conn.Close() }
