package handoff

import (
	"context"
	"fmt"
	"math/big"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Pool is a number of ports to one server, and the cookie that the server gives each. Ports are taken by
// workers and by the one goroutine that harvests; cookies are written by that goroutine alone.
type Pool struct {
	size  int // with so many cookies it serves
	ports []*relay.Upstream
	seen  []udpbatch.Endpoint // whom the server sees behind each
	slots []Slot              // of the ports, in their order
	clock *atomic.Uint32
	known atomic.Int32

	counts    atomic.Bool    // the server keeps who asks, and is told to forget
	held      atomic.Bool    // ... and is not, for it takes a cookie only from whom it keeps: see held.go
	left      []atomic.Int64 // since when each port's handshake is left unfinished, Unix nanoseconds; 0: it is not
	asked     []time.Time    // when the question was asked that each port has its cookie of
	rounds    uint32         // of asking
	window    int            // ports that are asked at once
	most      int            // cookies that the server gives before it forgets somebody; 0: no end was seen
	fruitless int            // fills after each other that brought nothing
	question  []byte         // the ClientHello that asks for a cookie
	poller    *udpbatch.Poller
	batch     *udpbatch.Batch
	queue     *udpbatch.Queue
}

// newPool opens a port to server for each slot of t, which must be empty, for a pool of size.
func newPool(server netip.AddrPort, size int, t Table, question []byte) (*Pool, error) {
	p := &Pool{size: size, slots: t.Slots, clock: t.Clock, question: question, queue: udpbatch.NewQueue(1), window: window}
	p.tick(time.Now())
	var err error
	if p.poller, err = udpbatch.NewPoller(window); err != nil {
		return nil, err
	}
	if p.batch, err = udpbatch.NewBatch(4); err != nil {
		p.poller.Close()
		return nil, err
	}
	for i := range p.slots {
		port, err := relay.OpenUpstreamFrom(sourceOf(i, server.Addr()), server, &p.slots[i].taken)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("port %d of the harvest pool of %d (--harvest-pool): %w", i+1, len(p.slots), err)
		}
		p.ports = append(p.ports, port)
		p.seen = append(p.seen, udpbatch.Endpoint{IP: port.Local().Addr().As16(), Port: port.Local().Port()})
	}
	p.left, p.asked = make([]atomic.Int64, len(p.ports)), make([]time.Time, len(p.ports))
	return p, nil
}

// spare is the share of the ports, one for so many, that a pool has in reserve. A server that still has an association
// with an earlier guard on a port, or with a client that vanished, is silent on it until it forgets: of the ephemeral
// ports of one address a pool of 4096 takes one in seven, and may well get such a port. With the reserve a pool that
// serves has at least the cookies that were asked for, so a guess is right no more often than that number says.
const spare = 16

// Ports is how many ports a pool of size has: it serves as soon as the cookies of size are known. They are a prime
// number, so that walks of any step come by all of them.
func Ports(size int) int {
	n := size + max(1, size/spare)
	for !big.NewInt(int64(n)).ProbablyPrime(0) { // which is proof below 2^64
		n++
	}
	return n
}

// PortsPerAddress is how many ports a pool has from one source address: the ephemeral ones (ip_local_port_range) are
// 28 232 unless told otherwise.
const PortsPerAddress = 28000

// MaxPool is the size of the largest pool towards server.
func MaxPool(server netip.Addr) int { return PortsPerAddress * SourcesOf(server) * spare / (spare + 1) }

// SourcesOf is the number of addresses that a pool towards server can have ports from: on loopback every address of
// 127.0.0.0/8 is this host's, and eight of them make more ports than a process has files.
func SourcesOf(server netip.Addr) int {
	if loopback4(server) {
		return 8
	}
	return 1
}

// sourceOf is the address that port i has; the kernel's choice for the first ones.
func sourceOf(i int, server netip.Addr) netip.AddrPort {
	n := i / PortsPerAddress
	if n == 0 || !loopback4(server) {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + n)}), 0)
}

// close closes the ports; no worker may use them any more.
func (p *Pool) close() {
	for _, port := range p.ports {
		port.Close()
	}
	p.batch.Close()
	p.poller.Close()
}

// treat has the pool deal with a server of traits t.
func (p *Pool) treat(t *Traits) {
	p.counts.Store(t.counts())
	p.held.Store(t.Held)
}

// forgetOne makes a port's cookie unknown.
func (p *Pool) forgetOne(i int) {
	if p.slots[i].forget() {
		p.known.Add(-1)
	}
}

// forget makes all cookies unknown, as after a restart of the server.
func (p *Pool) forget() {
	for i := range p.slots {
		p.slots[i].forget()
	}
	p.known.Store(0)
	p.most, p.fruitless = 0, 0
}

// tick moves the clock of reservations on.
func (p *Pool) tick(now time.Time) { p.clock.Store(uint32(now.Unix())) }

// runClock does so until ctx ends.
func (p *Pool) runClock(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			p.tick(now)
		}
	}
}

// Servers that keep who asks without saying so: libcoap has room for 100 that asked in the last half minute, and hears
// no others, clients of theirs included.
const (
	// enough is how many ports such a pool must have.
	enough = 64
	// patientFills is how many fills after each other must have brought nothing, of a server that answers the canary.
	patientFills = 3
)

// fill asks for the cookies that are not known, of ports that are free, and reports whether the pool can serve: whether
// no more than those in reserve are still missing, or the server gives no more. It stops at the first window that
// gets no answer at all.
func (p *Pool) fill(ctx context.Context) bool {
	before, missing := int(p.known.Load()), p.missing()
	if p.most > 0 {
		missing = missing[:min(len(missing), max(0, p.most-before))]
	}
	p.askAll(ctx, missing)
	known := int(p.known.Load())
	switch {
	case known > 0 && len(p.missing()) <= len(p.ports)-p.size:
		return true
	case known > before:
		p.fruitless = 0
	case p.most == 0:
		if p.fruitless++; p.fruitless >= patientFills && known >= enough {
			p.most = known
		}
	}
	return p.most > 0 && known >= enough
}

// missing are the ports that are free and whose cookie is not known.
func (p *Pool) missing() (list []int) {
	for i := range p.ports {
		if !p.slots[i].known() && p.ports[i].Free() {
			list = append(list, i)
		}
	}
	return list
}

// refresh asks again for the cookies that are older than young. Of one that a client has been given it is patient for a
// quarter longer, for the client may bring it yet, and not every server takes a client that was given two. Those of ports in
// use are forgotten, for they may be too old when the port is free; fill asks for them then, and for those of ports on which
// the server is silent: waiting for it twice would make the others old.
func (p *Pool) refresh(ctx context.Context, young time.Duration) {
	var old []int
	clock, now := p.clock.Load(), time.Now()
	for i := range p.ports {
		age := now.Sub(p.asked[i])
		if !p.slots[i].known() || age <= young || age <= young+young/4 && p.slots[i].kept(clock) {
			continue
		}
		if p.ports[i].Free() {
			old = append(old, i)
		} else {
			p.forgetOne(i)
		}
	}
	p.askAll(ctx, old)
}
