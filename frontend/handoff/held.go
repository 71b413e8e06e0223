package handoff

import "time"

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

// used says that a client takes port i, whose cookie is then of no use to another.
func (p *Pool) used(i int) {
	if p.held.Load() {
		p.forgetOne(i)
	}
}

// renew makes the cookies unknown that are to be asked for again.
func (p *Pool) renew(now time.Time) {
	clock := p.clock.Load()
	for i := range p.ports {
		age := now.Sub(p.asked[i])
		if p.slots[i].known() && (age > 2*heldFor || age > heldFor && !p.slots[i].kept(clock)) {
			p.forgetOne(i)
		}
	}
}

// doubt makes all cookies as old as those that are to be asked for again as soon as no client is to bring them.
func (p *Pool) doubt(now time.Time) {
	for i := range p.asked {
		p.asked[i] = now.Add(-heldFor - time.Second)
	}
}
