package tap

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Counts are datagrams on their way to the server.
type Counts struct {
	Kinds  [KindLen]uint64
	Marked uint64 // those that contain the marker, whatever their kind
}

// Total is the number of datagrams of all kinds.
func (c Counts) Total() (n uint64) {
	for _, k := range c.Kinds {
		n += k
	}
	return n
}

// Tap is a relay in front of one server.
type Tap struct {
	server netip.AddrPort
	marker []byte
	front  *net.UDPConn

	kinds   [KindLen]atomic.Uint64
	marked  atomic.Uint64
	running sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	ports  map[netip.AddrPort]*net.UDPConn
	closed bool
}

// maxDatagram is more than a UDP datagram can be.
const maxDatagram = 1 << 16

// Listen opens a tap on a loopback port that the kernel chooses, in front of server, which need not run yet.
// Datagrams that contain marker are counted as such; a nil marker marks none.
func Listen(server netip.AddrPort, marker []byte) (*Tap, error) {
	loopback := net.IPv6loopback
	if server.Addr().Unmap().Is4() {
		loopback = net.IPv4(127, 0, 0, 1)
	}
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: loopback})
	if err != nil {
		return nil, fmt.Errorf("open a tap in front of %v: %w", server, err)
	}
	t := &Tap{server: server, marker: marker, front: front, ports: make(map[netip.AddrPort]*net.UDPConn)}
	t.running.Go(t.forward)
	return t, nil
}

// Addr is the address to use in place of the server's.
func (t *Tap) Addr() netip.AddrPort { return unmapped(t.front.LocalAddr().(*net.UDPAddr).AddrPort()) }

// Counts is a snapshot.
func (t *Tap) Counts() Counts {
	c := Counts{Marked: t.marked.Load()}
	for k := range c.Kinds {
		c.Kinds[k] = t.kinds[k].Load()
	}
	return c
}

// Close ends the relay and closes its sockets. Counts remains readable.
func (t *Tap) Close() error {
	t.mu.Lock()
	t.closed = true
	err := t.front.Close()
	for _, p := range t.ports {
		p.Close()
	}
	t.mu.Unlock()
	t.running.Wait()
	return err
}

// forward carries datagrams to the server until the tap is closed.
func (t *Tap) forward() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := t.front.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		port := t.port(unmapped(from))
		if port == nil {
			continue
		}
		d := buffer[:n]
		t.kinds[classify(d)].Add(1)
		if len(t.marker) > 0 && bytes.Contains(d, t.marker) {
			t.marked.Add(1)
		}
		if _, err := port.Write(d); errors.Is(err, unix.ECONNREFUSED) {
			// This is the ICMP error of an earlier datagram, and it kept the current one from being sent.
			_, _ = port.Write(d)
		}
	}
}

// port returns the tap's socket for a sender; nil if it cannot be opened.
func (t *Tap) port(from netip.AddrPort) *net.UDPConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.ports[from]; p != nil || t.closed {
		return p
	}
	p, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(t.server))
	if err != nil {
		return nil
	}
	t.ports[from] = p
	t.running.Go(func() { t.backward(p, from) })
	return p
}

// backward carries what the server sends to port back to its sender.
func (t *Tap) backward(port *net.UDPConn, to netip.AddrPort) {
	buffer := make([]byte, maxDatagram)
	for {
		n, err := port.Read(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = t.front.WriteToUDPAddrPort(buffer[:n], to)
		}
	}
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
