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
// another cookie, and DTLSv1_listen never finishes the handshake of a client that was given two.
//
// Only so many clients have a port held: a flood takes all of the room, and the rest is as likely to meet another program's
// socket as any port is. The lock is for those few; under a flood nobody takes it.
type holds struct {
	room    atomic.Int32 // sockets that there may be besides
	mu      sync.Mutex
	sockets map[int]*udpbatch.Conn // of entries that are offered
	missed  map[int]uint32         // entries whose port another program had when their client came, and since when
	others  map[int]bool           // entries that are takenByOther
}

// mostHeld bounds the files: half a second of 250 new clients per second, where a handshake's first round trip takes as long.
const mostHeld = 128

// MostFiles is how many sockets a back end needs beside those of flows.
const MostFiles = window + mostHeld

// What Entry.taken can be.
const (
	takenByFlow  = 1
	takenByOther = 2 // another program of this host has the port
)

// ErrPortBusy says that another program has the port of a verified client just now. The client sends its ClientHello again
// after a second, and by then the port may be free.
var ErrPortBusy = errors.New("another program has the port")

func (h *holds) begin() {
	h.room.Store(mostHeld)
	h.sockets, h.missed, h.others = make(map[int]*udpbatch.Conn), make(map[int]uint32), make(map[int]bool)
}

// hold keeps the port of entry i, whose cookie a client is about to get. It returns false if another program has it: then
// the entry is not to be had until the port is free.
func (p *Pool) hold(i int) bool {
	h := &p.holds
	if p.kept != nil || h.room.Load() <= 0 {
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
	return true // without files: the flow will meet that
}

// othersHave notes that another program has the port of entry i, unless its word is no longer was.
func (p *Pool) othersHave(i int, was uint32) bool {
	if !p.entries[i].taken.CompareAndSwap(was, takenByOther) {
		return false
	}
	p.entries[i].reserved.Store(0) // or its client would have to bring its cookie once it is free again
	p.holds.others[i] = true
	return true
}

// open returns the socket of entry i, which the caller has taken. nil and no error: there is none to be had, and the entry
// is given back. The first time that another program has the port, the error is ErrPortBusy.
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
	if before && since != now { // the client has come again
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

// letGo forgets the socket of entry i.
func (p *Pool) letGo(i int) {
	delete(p.holds.sockets, i)
	p.holds.room.Add(1)
}

// review ends what is held for clients that did not come back, and looks whether others have given ports back.
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

// endHolds gives back what is held, so that the entries can be asked for anew or be another pool's.
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
