// Package netpath is a network path between clients and a server, in user space: it loses, delays, duplicates, reorders and
// cuts off datagrams, and gives clients other ports as a NAT does. So a test needs neither privileges nor a kernel with netem.
//
// Each client's datagrams leave from a socket of their own, so the server sees as many addresses as there are clients. What
// happens to a datagram is decided by a function of the test, or by [Conditions], which decide the same in every run, by a
// seed and by the datagram's number. A [Path] is safe for concurrent use.
package netpath

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Datagram is a datagram on its way.
type Datagram struct {
	FromClient bool
	Client     netip.AddrPort
	Ordinal    int // of its client among those of the path, from 0
	Nth        int // among the datagrams of its client and direction, from 0
	Data       []byte
	At         time.Time // when it came to the path

	// Rebind is set by decide: from this datagram on its client has another port, as after a NAT that has forgotten it.
	Rebind bool
}

// Fate is what happens to a datagram: the delay of each copy that arrives. A datagram without copies is lost.
type Fate []time.Duration

// The fates of a path without delay.
var (
	Drop  Fate
	Pass  = Fate{0}
	Twice = Fate{0, 0}
)

// Path carries datagrams between clients and a server.
type Path struct {
	Addr netip.AddrPort // where clients send to

	from    netip.Addr // of datagrams to the server; the zero Addr: any
	to      netip.AddrPort
	decide  func(d *Datagram) Fate
	near    *net.UDPConn
	running sync.WaitGroup

	sending sync.Mutex // is taken before mu

	mu      sync.Mutex
	due     []delivery // soonest first
	closed  bool
	clients map[netip.AddrPort]*client
	seen    []Datagram
	err     error
}

// client has the socket that the server sees, and how many datagrams there were in each direction.
type client struct {
	far     *net.UDPConn
	ordinal int
	count   [2]int
}

// delivery is a copy of a datagram, and when it is to arrive.
type delivery struct {
	at time.Time
	c  *client
	d  Datagram
}

// largest is the size of the largest UDP datagram, rounded up.
const largest = 1 << 16

// Start opens a path to a server. It listens on the server's address, on a port of its own. decide is called for each datagram,
// by several goroutines, and may block: that delays what clients send, or what comes back to one of them. With nil all datagrams pass.
// Errors are those of sockets.
func Start(to netip.AddrPort, decide func(d *Datagram) Fate) (*Path, error) {
	return StartFrom(netip.Addr{}, to, decide)
}

// StartFrom is Start for clients that have the address from, one of this host's: a server that knows addresses knows none of them yet.
func StartFrom(from netip.Addr, to netip.AddrPort, decide func(d *Datagram) Fate) (*Path, error) {
	near, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), 0)))
	if err != nil {
		return nil, fmt.Errorf("path to %v: %w", to, err)
	}
	if decide == nil {
		decide = func(*Datagram) Fate { return Pass }
	}
	p := &Path{
		Addr: near.LocalAddr().(*net.UDPAddr).AddrPort(), from: from, to: to, decide: decide, near: near,
		clients: make(map[netip.AddrPort]*client),
	}
	p.running.Go(p.forth)
	return p, nil
}

// Close ends the path, and waits for its goroutines. It returns the error of a socket that could not be opened.
func (p *Path) Close() error {
	p.mu.Lock()
	p.closed = true
	p.near.Close()
	for _, c := range p.clients {
		c.far.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
	return p.err
}

// Seen returns the datagrams so far of which keep is true, also those that were lost.
func (p *Path) Seen(keep func(d *Datagram) bool) (kept []Datagram) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.seen {
		if keep(&p.seen[i]) {
			kept = append(kept, p.seen[i])
		}
	}
	return kept
}

// rebind gives a client another port. Datagrams on their way to the old one are lost.
func (p *Path) rebind(c *client, at netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := c.far
	if err := p.connect(c, at); err != nil && !errors.Is(err, net.ErrClosed) {
		p.err = err
	}
	old.Close()
}

// forth carries what clients send.
func (p *Path) forth() {
	b := make([]byte, largest)
	for {
		n, from, err := p.near.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // an ICMP message about a client that has ended
			continue
		}
		c, err := p.client(from)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
		p.carry(c, Datagram{FromClient: true, Client: from, Data: bytes.Clone(b[:n])})
	}
}

// client returns the client at an address.
func (p *Path) client(at netip.AddrPort) (*client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[at]; c != nil {
		return c, nil
	}
	c := &client{ordinal: len(p.clients)}
	if err := p.connect(c, at); err != nil {
		return nil, err
	}
	p.clients[at] = c
	return c, nil
}

// connect opens a client's socket to the server. The caller has the lock.
func (p *Path) connect(c *client, at netip.AddrPort) error {
	if p.closed {
		return net.ErrClosed
	}
	var from *net.UDPAddr
	if p.from.IsValid() {
		from = net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.from, 0))
	}
	far, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(p.to))
	if err != nil {
		return fmt.Errorf("path to %v: %w", p.to, err)
	}
	c.far = far
	p.running.Go(func() { p.back(c, far, at) })
	return nil
}

// back carries what comes to far to a client, until far is closed.
func (p *Path) back(c *client, far *net.UDPConn, to netip.AddrPort) {
	b := make([]byte, largest)
	for {
		n, err := far.Read(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // a refusal, while the other end is restarted
			continue
		}
		p.carry(c, Datagram{Client: to, Data: bytes.Clone(b[:n])})
	}
}

// carry applies the fate of a datagram.
func (p *Path) carry(c *client, d Datagram) {
	direction := 1
	if d.FromClient {
		direction = 0
	}
	d.At = time.Now()
	p.mu.Lock()
	d.Ordinal, d.Nth = c.ordinal, c.count[direction]
	c.count[direction]++
	p.seen = append(p.seen, d)
	p.mu.Unlock()
	fate := p.decide(&d)
	if d.Rebind {
		p.rebind(c, d.Client)
	}
	for _, delay := range fate {
		if delay == 0 {
			p.deliver(c, d)
			continue
		}
		p.mu.Lock()
		at := time.Now().Add(delay)
		i, _ := slices.BinarySearchFunc(p.due, at, func(e delivery, at time.Time) int { return cmp.Or(e.at.Compare(at), -1) })
		p.due = slices.Insert(p.due, i, delivery{at, c, d})
		p.mu.Unlock()
		time.AfterFunc(delay, p.flush)
	}
}

// flush delivers what is due, in order: timers of the same delay may run in any.
func (p *Path) flush() {
	p.sending.Lock()
	defer p.sending.Unlock()
	now := time.Now()
	p.mu.Lock()
	n := slices.IndexFunc(p.due, func(e delivery) bool { return e.at.After(now) })
	if n < 0 {
		n = len(p.due)
	}
	ready := slices.Clone(p.due[:n])
	p.due = slices.Delete(p.due, 0, n)
	p.mu.Unlock()
	for _, e := range ready {
		p.deliver(e.c, e.d)
	}
}

// deliver sends a datagram on. The other end may be gone, and the path closed.
func (p *Path) deliver(c *client, d Datagram) {
	if !d.FromClient {
		_, _ = p.near.WriteToUDPAddrPort(d.Data, d.Client)
		return
	}
	p.mu.Lock()
	far := c.far
	p.mu.Unlock()
	_, _ = far.Write(d.Data)
}
