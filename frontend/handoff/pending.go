package handoff

import (
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Servers that make a cookie of where they keep who asked, as coturn up to 4.6 does, take it from him alone: so each entry of the
// pool stays where it is, an unfinished handshake at the server, until a client comes to finish it.

const (
	// pendingMost is the most entries of such a pool: coturn 4.6 takes 65 KB for each.
	pendingMost = 512
	// pendingFor is how long an entry's handshake is left unfinished: coturn drops it after 60 s. It may be twice that, if the
	// entry is kept for a client.
	pendingFor = 20 * time.Second
	// recheckEvery bounds how often all are asked for again because a client was not accepted: who says nothing to a
	// client may have been started anew, or the client has sent something that it does not like.
	recheckEvery = 5 * time.Second
)

// pendingRecord is the record number of the first question, and pendingRounds how many there are: behind those of clients'
// ClientHellos, so that the server takes none of those for replayed, and within its window of 64 (RFC 6347 section
// 4.1.2.6). Another one each time, so that a server that still keeps who asked says its cookie again.
const pendingRecord, pendingRounds = 16, 40

// next is the next question.
func (p *Pool) next() []byte {
	if !p.pending {
		return p.question
	}
	p.rounds++
	return (&hello.Probe{RecordSeq: pendingRecord + p.rounds%pendingRounds}).Append(nil)
}

// leave is what becomes of an entry at the server when that has given it a cookie.
func (p *Pool) leave(a *asking) {
	if p.pending {
		p.left[a.entry].Store(time.Now().UnixNano())
		return
	}
	p.release(a.conn)
}

// used says that a client takes entry i, whose cookie is then of no use to another.
func (p *Pool) used(i int) {
	if p.pending {
		p.left[i].Store(0)
		p.forgetOne(i)
	}
}

// renew ends handshakes that the server may drop soon, for their entries to be asked for again. Nobody else's: coturn
// does not listen to who begins with an alert.
func (p *Pool) renew(now time.Time) {
	clock := p.clock.Load()
	for i, u := range p.kept {
		left := p.left[i].Load()
		age := time.Duration(now.UnixNano() - left)
		if left == 0 || age <= pendingFor || age <= 2*pendingFor && p.entries[i].kept(clock) || !u.Acquire() {
			continue
		}
		if p.left[i].Swap(0) != 0 { // no client has come meanwhile
			p.forgetOne(i)
			p.release(u.Conn)
		}
		u.Release()
	}
}
