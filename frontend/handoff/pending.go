package handoff

import (
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Servers that bind a cookie to their connection state, as coturn up to 4.6 does, accept it only from the peer that has
// that state. So each entry of the pool remains at the server as an unfinished handshake, until a client finishes it.

const (
	// pendingMost is the largest such pool: coturn 4.6 takes 65 KB per entry.
	pendingMost = 512
	// pendingFor is how long an entry's handshake stays unfinished: coturn drops it after 60 s. A reservation for a
	// client may double it.
	pendingFor = 20 * time.Second
	// recheckEvery bounds how often all cookies are requested again, or the server is probed again, because a client was not
	// accepted: the server may have restarted, or only have disliked what the client sent.
	recheckEvery = 5 * time.Second
)

// pendingRecord is the record number of the first question, and pendingRounds their number: above those of clients'
// ClientHellos, so that the server takes none of those for replayed, and within its window of 64 (RFC 6347 section
// 4.1.2.6). Each question has a number of its own, so that a server that still has state sends its cookie again.
const pendingRecord, pendingRounds = 16, 40

// next returns the next question.
func (p *Pool) next() []byte {
	if !p.pending {
		return p.question
	}
	p.rounds++
	return (&hello.Probe{RecordSeq: pendingRecord + p.rounds%pendingRounds}).Append(nil)
}

// leave leaves an entry at the server as an unfinished handshake, once the server has sent a cookie.
func (p *Pool) leave(a *asking) {
	if p.pending {
		p.left[a.entry].Store(time.Now().UnixNano())
		return
	}
	p.release(a.conn)
}

// used records that a client takes entry i, whose cookie is then useless to others.
func (p *Pool) used(i int) {
	if p.pending {
		p.left[i].Store(0)
		p.forgetOne(i)
	}
}

// renew ends handshakes that the server may drop soon, so that their entries are requested again. It ends no others:
// coturn ignores peers that begin with an alert.
func (p *Pool) renew(now time.Time) {
	clock := p.clock.Load()
	for i, u := range p.kept {
		left := p.left[i].Load()
		age := time.Duration(now.UnixNano() - left)
		if left == 0 || age <= pendingFor || age <= 2*pendingFor && p.entries[i].kept(clock) || !u.Acquire() {
			continue
		}
		if p.left[i].Swap(0) != 0 { // unless a client has come meanwhile
			p.forgetOne(i)
			p.release(u.Conn)
		}
		u.Release()
	}
}
