package handoff

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// holds keep ports from other programs between a client's two ClientHellos. A client whose port is taken meanwhile needs
// another cookie, and DTLSv1_listen never finishes the handshake of a client that was offered two.
//
// Only a bounded number of ports is held: a flood uses all of that room, and without a hold a port is as likely to be
// taken as any. The lock is for those few ports; under a flood nobody takes it.
type holds struct {
	room    atomic.Int32 // sockets that may still be opened
	mu      sync.Mutex
	sockets map[int]*udpbatch.Conn // of offered entries
	missed  map[int]uint32         // entries whose port another program had when their client came, and since when
	others  map[int]bool           // entries that are takenByOther
}

// mostHeld bounds the open files: half a second of 250 new clients per second, for a round trip of that length.
const mostHeld = 128

// MostFiles is the number of sockets that a back end needs in addition to those of flows.
const MostFiles = window + mostHeld

// Values of Entry.taken.
const (
	takenByFlow  = 1
	takenByOther = 2 // another program of this host has the port
)

// ErrPortBusy reports that another program has the port of a verified client. The client retransmits its ClientHello
// after a second, and the port may be free by then.
var ErrPortBusy = errors.New("another program has the port")

func (h *holds) begin() {
	h.room.Store(mostHeld)
	h.sockets, h.missed, h.others = make(map[int]*udpbatch.Conn), make(map[int]uint32), make(map[int]bool)
}

// hold holds the port of entry i, whose cookie a client is about to be offered. It returns false if another program has
// the port: the entry is then unusable until the port is free.
func (p *Pool) hold(i int) bool {
	h := &p.holds
	if p.kept != nil || p.retired.Load() || h.room.Load() <= 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, is := h.sockets[i]; is || h.room.Load() <= 0 {
		return true
	}
	c, err := p.sources.dial(i, p.server)
	switch {
	case err == nil:
		h.sockets[i] = c
		h.room.Add(-1)
	case relay.PortTaken(err):
		return !p.othersHave(i, 0)
	}
	return true // no free file: opening the flow will report that
}

// othersHave records that another program has the port of entry i, unless the entry's state has changed from was.
func (p *Pool) othersHave(i int, was uint32) bool {
	if !p.entries[i].taken.CompareAndSwap(was, takenByOther) {
		return false
	}
	p.entries[i].reserved.Store(0) // else its client would have to present the entry's cookie once the port is free
	p.holds.others[i] = true
	return true
}

// open returns the socket of entry i, which the caller has taken. nil and no error: the port is not available, and the
// entry is released. The first time that another program has the port, the error is ErrPortBusy.
func (p *Pool) open(i int) (*relay.Upstream, error) {
	e := &p.entries[i]
	if c := p.claim(i); c != nil {
		return relay.NewUpstream(c, &e.taken), nil
	}
	c, err := p.sources.dial(i, p.server)
	switch {
	case err == nil:
		return relay.NewUpstream(c, &e.taken), nil
	case !relay.PortTaken(err):
		e.taken.Store(0)
		return nil, err
	}
	h, now := &p.holds, p.clock.Load()
	h.mu.Lock()
	defer h.mu.Unlock()
	since, before := h.missed[i]
	if before && since != now { // the client has retried
		delete(h.missed, i)
		p.othersHave(i, takenByFlow)
		return nil, nil
	}
	h.missed[i] = now
	e.taken.Store(0)
	return nil, fmt.Errorf("%v to %v: %w", p.sources.at(i), p.server, ErrPortBusy)
}

// claim returns the socket that holds the port of entry i, if there is one.
func (p *Pool) claim(i int) *udpbatch.Conn {
	h := &p.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.sockets[i]
	if c != nil {
		p.letGo(i)
	}
	return c
}

// letGo closes the socket that holds entry i's port.
func (p *Pool) letGo(i int) {
	delete(p.holds.sockets, i)
	p.holds.room.Add(1)
}

// review ends the holds of clients that did not return, and checks whether other programs have released ports.
func (p *Pool) review(now uint32) {
	h := &p.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.sockets {
		if !p.entries[i].kept(now) {
			_ = c.Close()
			p.letGo(i)
		}
	}
	for i, since := range h.missed {
		if now-since >= reservation {
			delete(h.missed, i)
		}
	}
	for i := range h.others {
		if c, err := p.sources.dial(i, p.server); err == nil {
			_ = c.Close()
			delete(h.others, i)
			p.entries[i].taken.Store(0)
		}
	}
}

// endHolds ends all holds, so that the entries can be asked for again or belong to another pool.
func (p *Pool) endHolds() {
	h := &p.holds
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.sockets {
		_ = c.Close()
		p.letGo(i)
	}
	for i := range h.others {
		p.entries[i].taken.Store(0)
	}
	clear(h.others)
	clear(h.missed)
}
