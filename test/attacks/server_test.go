package attacks

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// server behaves like a DTLS server seen from outside: cookies over the peer's address, a flight for each ClientHello with
// the right cookie, a Finished for a client's Finished, an echo of each application record of an association, and a protected
// alert for a record of no association. Associations never end.
type server struct {
	conn    *net.UDPConn
	any     bool          // accepts every cookie
	flights atomic.Uint64 // ClientHellos with a valid cookie
}

// Datagrams of a handshake, as they look to somebody without the keys.
var (
	serverFlight  = record(22, 0, append([]byte{2, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 2, 0xfe, 0xfd}, make([]byte, 40)...)...)
	serverDone    = bytes.Join([][]byte{record(20, 0, 1), record(22, 1, 0x5e)}, nil)
	clientFlight  = bytes.Join([][]byte{record(22, 0, append([]byte{16}, make([]byte, 20)...)...), record(20, 0, 1), record(22, 1, 0xc1)}, nil)
	forgedAlert   = record(21, 1, 0xba) // 14 bytes
	clientRecords = []byte{23, 0xfe, 0xfd, 0, 1}
)

// record returns a record of DTLS 1.2.
func record(contentType, epoch byte, body ...byte) []byte {
	return append([]byte{contentType, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, byte(len(body) >> 8), byte(len(body))}, body...)
}

func startServer(t *testing.T, anyCookie bool) *server {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadBuffer(4 << 20)
	s := &server{conn: conn, any: anyCookie}
	done := make(chan struct{})
	go func() { defer close(done); s.serve() }()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

func (s *server) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *server) serve() {
	key := []byte("the server's own")
	associated := make(map[netip.AddrPort]bool) // false: half-open
	buffer := make([]byte, 1<<16)
	for {
		n, peer, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		d, answer := buffer[:n], []byte(nil)
		var h hello.ClientHello
		done, known := associated[peer]
		switch {
		case hello.Parse(d, &h) == hello.OK:
			m := hmac.New(sha256.New, key)
			m.Write([]byte(peer.String()))
			c := m.Sum(nil)[:20]
			if len(h.Cookie) == 0 || !s.any && !hmac.Equal(c, h.Cookie) {
				answer = d[:hello.PutHelloVerify(d, c)]
				break
			}
			s.flights.Add(1)
			associated[peer] = false
			answer = serverFlight
		case !known:
		case bytes.Equal(d, clientFlight):
			associated[peer] = true
			answer = serverDone
		case done && bytes.HasPrefix(d, clientRecords):
			answer = d
		}
		if answer != nil {
			_, _ = s.conn.WriteToUDPAddrPort(answer, peer) // the guard may be gone
		}
	}
}
