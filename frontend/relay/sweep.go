package relay

import "time"

// Timeouts of flows. That of a half-open flow counts from the last message of its handshake.
type Timeouts struct {
	Handshake time.Duration // half-open; a sixth of it when three quarters of a budget are used
	Idle      time.Duration // established
}

const (
	// closingIdle leaves time for the other side's close_notify and its retransmission.
	closingIdle = 10 * time.Second
	// unansweredShare: a nearby server that has not answered a ClientHello in a third of the time, by default 10 s,
	// will not: RFC 6347 section 4.2.4.1 has the client repeat it after 1, 3 and 7 s.
	unansweredShare = 3
	// scarceShare makes 5 s of 30: a client with a round trip of two seconds still finishes.
	scarceShare = 6
	// longestHandshake is in units of Timeouts.Handshake, two minutes by default.
	longestHandshake = 4
	// idleShare: a flow is idle after a tenth of the idle timeout.
	idleShare = 10
	// silenceNoticed: the client's first two retransmissions (1 s and 2 s, RFC 6347 section 4.2.4.1) had no answer.
	silenceNoticed = 3 * time.Second
)

// Expiry is why a flow has expired.
type Expiry uint8

// The expiries.
const (
	HandshakeOver Expiry = iota // the server refused it
	HandshakeLate
	IdleLong
	ClosedLong
	ExpiryLen
)

var expiryNames = [ExpiryLen]string{"refused-by-server", "handshake-timeout", "idle-timeout", "closed"}

// String is the expiry's label in metrics.
func (e Expiry) String() string { return expiryNames[e] }

// Sweep calls end, which must Close it, with each expired flow. It reports whether the server was silent to a flow for
// three seconds, once per flow.
func (t *Table) Sweep(now int64, end func(*Flow, Expiry)) (silent bool) {
	for i := range t.halfOpen {
		l := &t.halfOpen[i]
		for f := l.head.prev; f != &l.head; {
			next := f.prev
			if !f.Answered() && !f.silenceReported && now-f.Born > int64(silenceNoticed) {
				f.silenceReported, silent = true, true
			}
			if t.late(f, now) {
				end(f, HandshakeLate)
			}
			f = next
		}
	}
	for f := t.lists[Over].last(); f != nil; f = t.lists[Over].last() {
		end(f, HandshakeOver)
	}
	idle := int64(t.timeouts.Idle)
	for f := t.lists[Closing].last(); f != nil && now-f.used > min(int64(closingIdle), idle); f = t.lists[Closing].last() {
		end(f, ClosedLong)
	}
	for f := t.lists[Established].last(); f != nil && now-f.used > idle/idleShare; f = t.lists[Established].last() {
		s, _ := step(f.State, f.progress, Silence)
		t.move(f, s)
	}
	for f := t.lists[Idle].last(); f != nil && now-f.used > idle; f = t.lists[Idle].last() {
		end(f, IdleLong)
	}
	return silent
}

// late reports whether a half-open flow has expired.
func (t *Table) late(f *Flow, now int64) bool {
	most := int64(min(t.timeouts.Handshake, t.timeouts.Idle))
	age := now - f.used
	switch {
	case age > most, now-f.Born > longestHandshake*most:
		return true
	case age > most/unansweredShare && !f.Answered():
		return true
	}
	return age > most/scarceShare && t.budget.scarce(&f.Client.IP, t.room)
}
