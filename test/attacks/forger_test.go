package attacks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// forger sends datagrams to a guard, each from an address of 127.0.0.0/8 that nobody has.
type forger struct {
	sent atomic.Uint64

	conn     *ipv4.PacketConn
	messages []ipv4.Message
	fill     func(b []byte) int // writes a datagram and returns its length
}

const (
	forgerBatch = 64
	forgerTick  = 5 * time.Millisecond
	// sourceAt is where the source stands in a control message: behind its header and the interface's number (ip(7), IP_PKTINFO).
	sourceAt = unix.SizeofCmsghdr + 4
)

func newForger(t *testing.T, to netip.AddrPort, fill func(b []byte) int) *forger {
	t.Helper()
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetReadBuffer(1) // answers are nobody's
	f := &forger{conn: ipv4.NewPacketConn(conn), messages: make([]ipv4.Message, forgerBatch), fill: fill}
	for i := range f.messages {
		source := &ipv4.ControlMessage{Src: net.IPv4(127, 2, 0, 1)}
		f.messages[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 512)}, OOB: source.Marshal(), Addr: net.UDPAddrFromAddrPort(to)}
	}
	return f
}

// run sends perSecond datagrams, or as many as it can, until ctx ends.
func (f *forger) run(ctx context.Context, perSecond int) {
	began := time.Now()
	for ctx.Err() == nil {
		due := int(time.Since(began).Seconds()*float64(perSecond)) - int(f.sent.Load())
		if due < 1 {
			time.Sleep(forgerTick)
			continue
		}
		list := f.messages[:min(due, forgerBatch)]
		for i := range list {
			m := &list[i]
			m.Buffers[0] = m.Buffers[0][:cap(m.Buffers[0])]
			m.Buffers[0] = m.Buffers[0][:f.fill(m.Buffers[0])]
			r := rand.Uint32()
			copy(m.OOB[sourceAt:], []byte{127, 2 + byte(r>>24)%12, byte(r), 1 + byte(r>>8)%254})
		}
		n, err := f.conn.WriteBatch(list, 0)
		if f.sent.Add(uint64(n)); err != nil && n == 0 {
			time.Sleep(forgerTick) // no buffers
		}
	}
}

// guesses are ClientHellos with cookies of the server's, as any client can collect, for handshakes that they are not for.
func guesses(cookies [][]byte) func(b []byte) int {
	d := (&hello.Probe{MessageSeq: 1, RecordSeq: 1, Cookie: cookies[0]}).Append(nil) // servers go on with it
	const randomAt, cookieAt = 27, 27 + 32 + 1 + 1                                   // without a session_id
	return func(b []byte) int {
		n := copy(b, d)
		for i := 0; i < 32; i += 8 {
			binary.NativeEndian.PutUint64(b[randomAt+i:], rand.Uint64())
		}
		copy(b[cookieAt:], cookies[rand.IntN(len(cookies))])
		return n
	}
}

// junk is anything: bytes, records of sessions that nobody has, pieces of ClientHellos.
func junk() func(b []byte) int {
	d := newHello().Bytes()
	return func(b []byte) int {
		r := rand.Uint64()
		n := 1 + int(r>>8)%200
		for i := 0; i < n; i += 8 {
			binary.NativeEndian.PutUint64(b[i:], rand.Uint64())
		}
		switch r & 3 {
		case 1:
			copy(b, record(23, 1))
		case 2:
			return copy(b, d[:1+n%len(d)])
		}
		return n
	}
}

// alertAll sends a forged alert from each port of a client's address. It needs CAP_NET_RAW.
func alertAll(from netip.Addr, to netip.AddrPort) (sent int, err error) {
	conn, err := net.ListenIP("ip4:udp", &net.IPAddr{IP: from.AsSlice()})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(1)
	d := make([]byte, 8, 8+len(forgedAlert)) // without a checksum
	binary.BigEndian.PutUint16(d[2:], to.Port())
	binary.BigEndian.PutUint16(d[4:], uint16(8+len(forgedAlert)))
	d = append(d, forgedAlert...)
	for port := 1024; port < 1<<16; port++ {
		binary.BigEndian.PutUint16(d, uint16(port))
		if _, err := conn.WriteTo(d, &net.IPAddr{IP: to.Addr().AsSlice()}); err == nil {
			sent++
		} else if errors.Is(err, os.ErrPermission) {
			return sent, fmt.Errorf("forge alerts: %w", err)
		}
	}
	return sent, nil
}
