package attacks

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
)

// session is a real DTLS client. What an attacker forges in its name is sent from its own socket.
type session struct {
	socket net.PacketConn
	conn   *dtls.Conn
	to     net.Addr
}

// connectDTLS does a handshake from an address.
func connectDTLS(from netip.Addr, to netip.AddrPort, within time.Duration) (*session, error) {
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return nil, err
	}
	s := &session{socket: socket, to: net.UDPAddrFromAddrPort(to)}
	if s.conn, err = dtls.ClientWithOptions(socket, s.to, dtls.WithInsecureSkipVerify(true)); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), within)
		defer cancel()
		err = s.conn.HandshakeContext(ctx)
	}
	if err != nil {
		socket.Close()
		return nil, err
	}
	return s, nil
}

// end closes the session with close_notify.
func (s *session) end() {
	_ = s.conn.Close()
	s.socket.Close()
}

// alive reports whether its line is echoed; it repeats the line every second.
func (s *session) alive(within time.Duration) bool {
	b := make([]byte, 256)
	line := fmt.Appendf(nil, "ping %d\n", time.Now().UnixNano())
	for end := time.Now().Add(within); time.Now().Before(end); {
		if _, err := s.conn.Write(line); err != nil {
			return false
		}
		_ = s.conn.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, err := s.conn.Read(b)
			if err == nil && bytes.Equal(b[:n], line) {
				return true
			}
			if err != nil {
				break
			}
		}
	}
	return false
}

// forge sends a datagram from the session's socket.
func (s *session) forge(d []byte) { _, _ = s.socket.WriteTo(d, s.to) }

// begin starts n sessions from eight addresses, the first-th and those after it, some at a time.
func begin(t *testing.T, n, first int, to netip.AddrPort) []*session {
	t.Helper()
	const atOnce, addresses = 10, 8
	all, errs := make([]*session, n), make(chan error, n)
	room := make(chan struct{}, atOnce)
	for i := range all {
		room <- struct{}{}
		go func() {
			defer func() { <-room }()
			var err error
			all[i], err = connectDTLS(source(first+i%addresses), to, patience)
			errs <- err
		}()
	}
	for range all {
		if err := <-errs; err != nil {
			t.Fatalf("%d sessions: %v", n, err)
		}
	}
	t.Cleanup(func() {
		for _, s := range all {
			s.end()
		}
	})
	return all
}

// survivors asks all sessions at once and counts those that are alive.
func survivors(list []*session) (n int) {
	results := make(chan bool, len(list))
	for _, s := range list {
		go func() { results <- s.alive(patience) }()
	}
	for range list {
		if <-results {
			n++
		}
	}
	return n
}
