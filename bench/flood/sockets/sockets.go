package sockets

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Sources on loopback.
var (
	// Loopback4 leaves out 127.0.0.1, which real clients use, and the network and broadcast addresses.
	Loopback4 = netip.MustParsePrefix("127.64.0.0/10")
	Loopback6 = netip.MustParsePrefix("::1/128")
)

const (
	// ports4 is enough for all workers of a guard to get a share, whatever the kernel's hash.
	ports4 = 8
	// ports6 is the number of sources on ::1.
	ports6 = 256
	// maxPorts stays below the default limit of 1024 open files.
	maxPorts = 512
)

// sockets is a carrier on loopback with one socket per source port.
type sockets struct {
	flow   traffic.Flow
	target udpbatch.Endpoint
	ports  []port
	open   map[uint16]int // its index in ports
	slots  []slot
	used   int
	in     *udpbatch.Batch
	poller *udpbatch.Poller
}

type port struct {
	conn  *udpbatch.Conn
	queue *udpbatch.Queue
}

// slot is memory for a datagram.
type slot struct {
	datagram []byte
	route    udpbatch.Route
}

func openSockets(f traffic.Flow, batch int) (*sockets, error) {
	route := udpbatch.NewRoute(f.Destination)
	s := &sockets{flow: f, target: route.Peer(), open: make(map[uint16]int), slots: make([]slot, batch)}
	for i := range s.slots {
		s.slots[i].route = route
	}
	first, n := f.Ports.Range()
	if f.Ports == (traffic.Ports{}) {
		if first, n = 0, ports4; f.Destination.Addr().Is6() {
			n = ports6
		}
	}
	err := s.listen(first, n, batch)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// loopback returns the sources that sockets use to reach an address.
func loopback(to netip.Addr) netip.Prefix {
	if to.Is6() {
		return Loopback6
	}
	return Loopback4
}

// checkLoopback returns the mistake in a flow for sockets.
func checkLoopback(f *traffic.Flow) error {
	within := netip.MustParsePrefix("127.0.0.0/8")
	if f.Destination.Addr().Is6() {
		within = Loopback6
	}
	_, n := f.Ports.Range()
	switch {
	case !within.Contains(f.Destination.Addr()):
		return fmt.Errorf("to %v: sockets send to 127.0.0.0/8 and ::1 only; name the interface to send frames from", f.Destination.Addr())
	case f.Destination.Port() == 0:
		return fmt.Errorf("to %v: want a port", f.Destination)
	case !within.Contains(f.Sources.Addr()) || f.Sources.Bits() < within.Bits():
		return fmt.Errorf("from %v: the addresses that sockets can send from are those of %v; name an interface to forge others", f.Sources, within)
	case f.Ports != traffic.Ports{} && (f.Ports.First == 0 || n < 1 || n > maxPorts):
		return fmt.Errorf("source ports %d to %d: want 1 to 65535, and %d at most, as each takes a socket", f.Ports.First, f.Ports.Last, maxPorts)
	}
	return nil
}

// listen opens n sockets with consecutive ports from first on; 0: the kernel chooses them.
func (s *sockets) listen(first uint16, n, batch int) (err error) {
	if s.in, err = udpbatch.NewBatch(batch); err != nil {
		return err
	}
	if s.poller, err = udpbatch.NewPoller(n); err != nil {
		return err
	}
	wildcard := netip.IPv4Unspecified()
	if s.flow.Destination.Addr().Is6() {
		wildcard = netip.IPv6Unspecified()
	}
	for i := range n {
		number := first
		if first != 0 {
			number += uint16(i)
		}
		conn, err := udpbatch.Listen(netip.AddrPortFrom(wildcard, number), udpbatch.Options{ReceiveBuffer: receiveBuffer})
		if err != nil {
			return err
		}
		s.open[conn.Local().Port()] = i
		s.ports = append(s.ports, port{conn, udpbatch.NewQueue(batch)})
		if err := s.poller.Add(conn.FD(), udpbatch.Event{A: int32(i)}); err != nil {
			return err
		}
	}
	return nil
}

func (s *sockets) source(random uint64) netip.AddrPort {
	i := (random >> 48) * uint64(len(s.ports)) >> 16
	return netip.AddrPortFrom(s.flow.SourceAddress(random), s.ports[i].conn.Local().Port())
}

func (s *sockets) add(source netip.AddrPort, datagram []byte) {
	slot := &s.slots[s.used]
	s.used++
	slot.datagram = append(slot.datagram[:0], datagram...)
	slot.route.From(source.Addr().As16())
	s.ports[s.open[source.Port()]].queue.Add(slot.datagram, &slot.route)
}

func (s *sockets) flush() (sent int) {
	s.used = 0
	for i := range s.ports {
		if p := &s.ports[i]; p.queue.Len() != 0 {
			n, _ := p.conn.Send(p.queue)
			sent += n
		}
	}
	return sent
}

func (s *sockets) receive(each func(netip.AddrPort, []byte)) {
	for {
		n, _, err := s.poller.Wait(0)
		if err != nil || n == 0 {
			return
		}
		for i := range n {
			s.take(s.ports[s.poller.Event(i).A].conn, each)
		}
	}
}

// take reads a batch from a socket.
func (s *sockets) take(c *udpbatch.Conn, each func(netip.AddrPort, []byte)) {
	s.in.Reset()
	_, _ = c.Recv(s.in) // the sockets are not connected, so nothing is refused
	for i := range s.in.Len() {
		r := s.in.Route(i)
		if local, ok := r.Local(); ok && r.Peer() == s.target {
			each(netip.AddrPortFrom(netip.AddrFrom16(local).Unmap(), c.Local().Port()), s.in.Datagram(i))
		}
	}
}

func (s *sockets) wait(most int) error {
	_, _, err := s.poller.Wait(most)
	return err
}

func (s *sockets) close() error {
	var errs []error
	for _, p := range s.ports {
		errs = append(errs, p.conn.Close())
	}
	if s.poller != nil {
		errs = append(errs, s.poller.Close())
	}
	if s.in != nil {
		errs = append(errs, s.in.Close())
	}
	return errors.Join(errs...)
}
