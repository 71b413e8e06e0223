package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
)

// association is a client connected to a server.
type association interface {
	// ping sends a line that begins with "ping" and waits for its echo.
	ping(text string)
	// exchange sends a line and waits for answer, for servers that do not echo.
	exchange(line, answer string)
	// close ends the association with close_notify, and checks that the client reports no error.
	close()
}

// dialer starts a client towards addr. The first ping shows that its handshake succeeded.
type dialer func(t *testing.T, addr netip.AddrPort) association

// dtls10 makes OpenSSL 3 speak DTLS 1.0, whose SHA-1 signatures its default security level forbids.
var dtls10 = []string{"-dtls1", "-cipher", "ALL:@SECLEVEL=0"}

type opensslClient struct{ *program }

// openssl is openssl s_client; without arguments it speaks DTLS 1.2.
func openssl(args ...string) dialer {
	return func(t *testing.T, addr netip.AddrPort) association { return dialOpenSSL(t, addr, args...) }
}

func dialOpenSSL(t *testing.T, addr netip.AddrPort, args ...string) *opensslClient {
	t.Helper()
	if len(args) == 0 {
		args = []string{"-dtls1_2"}
	}
	return &opensslClient{start(t, "", "openssl", append([]string{"s_client", "-connect", addr.String()}, args...)...)}
}

// close ends the client by closing its input: s_client understands Q only as the first letter of what it reads, not after a line
// that was sent twice.
func (c *opensslClient) close() { c.t.Helper(); c.closeInput(); c.succeed() }

type gnutlsClient struct{ *program }

// gnutls is gnutls-cli.
func gnutls(args ...string) dialer {
	return func(t *testing.T, addr netip.AddrPort) association {
		t.Helper()
		args := append([]string{"--udp", "--insecure", "--port", strconv.Itoa(int(addr.Port())), addr.Addr().String()}, args...)
		return &gnutlsClient{start(t, "", "gnutls-cli", args...)}
	}
}

func (c *gnutlsClient) close() { c.t.Helper(); c.closeInput(); c.succeed() }

// pionClient is a client on github.com/pion/dtls, version 3 or 4.
type pionClient struct {
	t    *testing.T
	conn net.Conn
}

// pion is a client on github.com/pion/dtls.
func pion(options ...dtls.ClientOption) dialer {
	return func(t *testing.T, addr netip.AddrPort) association {
		t.Helper()
		c, err := dialPion(t, addr, patience, options...)
		if err != nil {
			t.Fatalf("pion: %v", err)
		}
		return c
	}
}

// dialPion returns a client that has done its handshake.
func dialPion(t *testing.T, addr netip.AddrPort, within time.Duration, options ...dtls.ClientOption) (*pionClient, error) {
	options = append([]dtls.ClientOption{dtls.WithInsecureSkipVerify(true)}, options...)
	conn, err := dtls.DialWithOptions("udp", net.UDPAddrFromAddrPort(addr), options...)
	if err != nil {
		return nil, err
	}
	return handshaken(t, conn, within)
}

// handshaken returns a client whose handshake has finished.
func handshaken(t *testing.T, conn interface {
	net.Conn
	HandshakeContext(ctx context.Context) error
}, within time.Duration) (*pionClient, error) {
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	return &pionClient{t, conn}, nil
}

func (c *pionClient) ping(text string) { c.t.Helper(); c.exchange(text, text+"\n") }

// exchange writes a line until its answer comes, as program's does: DTLS does not retransmit application data.
func (c *pionClient) exchange(line, answer string) {
	c.t.Helper()
	var got strings.Builder
	b := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.conn.Write([]byte(line + "\n")); err != nil {
			c.t.Fatalf("pion: write: %v", err)
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(again))
		for {
			n, err := c.conn.Read(b)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				c.t.Fatalf("pion: read after %q: %v", got.String(), err)
			}
			got.Write(b[:n])
			if strings.Contains(got.String(), answer) {
				return
			}
		}
	}
	c.t.Fatalf("pion: no %q in %q", answer, got.String())
}

func (c *pionClient) close() {
	c.t.Helper()
	if err := c.conn.Close(); err != nil && !errors.Is(err, io.EOF) {
		c.t.Errorf("pion: close: %v", err)
	}
}

// sessions is a pion session store of one client.
type sessions struct {
	mu   sync.Mutex
	list map[string]dtls.Session
	hits int
}

func (s *sessions) Set(key []byte, v dtls.Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = make(map[string]dtls.Session)
	}
	s.list[string(key)] = v
	return nil
}

func (s *sessions) Get(key []byte) (dtls.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.list[string(key)]
	if v.ID != nil {
		s.hits++
	}
	return v, nil
}

func (s *sessions) Del(key []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, string(key))
	return nil
}
