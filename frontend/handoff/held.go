package handoff

import (
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Servers that make a cookie of where they keep who asked, as coturn up to 4.6 does, take it from him alone: so each port of
// the pool stays where it is, an unfinished handshake at the server, until a client comes to finish it.

const (
	// heldMost is the most ports of such a pool: coturn 4.6 takes 65 KB for each.
	heldMost = 512
	// heldFor is how long a port's handshake is left unfinished: coturn drops it after 60 s. It may be twice that, if the
	// port is kept for a client.
	heldFor = 20 * time.Second
	// doubtEvery bounds how often all are asked for again because a client was not taken up: who says nothing to a
	// client may have been started anew, or the client has sent something that it does not like.
	doubtEvery = 5 * time.Second
)

// heldRecord is the record number of the first question, and heldRounds how many there are: behind those of clients'
// ClientHellos, so that the server takes none of those for replayed, and within its window of 64 (RFC 6347 section
// 4.1.2.6). Another one each time, so that a server that still keeps who asked says its cookie again.
const heldRecord, heldRounds = 16, 40

// next is the question of the next round.
func (p *Pool) next() []byte {
	if !p.held.Load() {
		return p.question
	}
	p.rounds++
	return (&hello.Probe{RecordSeq: heldRecord + p.rounds%heldRounds}).Append(nil)
}

// leave is what becomes of port i at the server when that has given it a cookie.
func (p *Pool) leave(i int) {
	if p.held.Load() {
		p.left[i].Store(time.Now().UnixNano())
		return
	}
	p.release(p.ports[i].Conn)
}

// used says that a client takes port i, whose cookie is then of no use to another.
func (p *Pool) used(i int) {
	if p.held.Load() {
		p.left[i].Store(0)
		p.forgetOne(i)
	}
}

// renew ends handshakes that the server may drop soon, for their ports to be asked for again. Nobody else's: coturn
// does not listen to who begins with an alert.
func (p *Pool) renew(now time.Time) {
	clock := p.clock.Load()
	for i := range p.ports {
		left := p.left[i].Load()
		age := time.Duration(now.UnixNano() - left)
		if left == 0 || age <= heldFor || age <= 2*heldFor && p.slots[i].kept(clock) || !p.ports[i].Acquire() {
			continue
		}
		if p.left[i].Swap(0) != 0 { // no client has come meanwhile
			p.forgetOne(i)
			p.release(p.ports[i].Conn)
		}
		p.ports[i].Release()
	}
}
