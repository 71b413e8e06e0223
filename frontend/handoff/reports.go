package handoff

import "sync/atomic"

// reports are what workers tell the watch of a back end.
type reports struct {
	suspect     chan struct{}
	recheck     atomic.Bool   // a client was not accepted, for whatever reason
	refused     atomic.Bool   // the server refused a cookie
	gone        atomic.Bool   // nothing listened at its address
	opened      atomic.Uint64 // handshakes that have begun
	handshaking atomic.Int64  // ... and are not over
	accepted    atomic.Bool   // the server has accepted a client since the last harvest
	heard       atomic.Bool   // it said something to a client
}

// urgent reports whether there is something to find out at once.
func (r *reports) urgent() bool { return r.refused.Load() || r.gone.Load() }

// Suspicion is what makes the watch look at once.
type Suspicion uint8

// What a server can do with a verified client that makes it suspect.
const (
	// Unanswered: it was silent, or sent an alert.
	Unanswered Suspicion = iota
	// Refused: it answered with a HelloVerifyRequest, so the cookie it got was not right.
	Refused
	// Gone: nothing listens there.
	Gone
)

// Suspect tells the watch that the server did not accept a verified client. Never blocks.
func (b *Backend) Suspect(s Suspicion) {
	switch r := &b.reports; s {
	case Refused:
		r.refused.Store(true)
	case Gone:
		r.gone.Store(true)
	}
	b.reports.recheck.Store(true)
	select {
	case b.reports.suspect <- struct{}{}:
	default:
	}
}

// Opened tells the watch that a client's handshake with the server begins. Never blocks.
func (b *Backend) Opened() {
	b.reports.opened.Add(1)
	b.reports.handshaking.Add(1)
}

// Settled tells the watch that a handshake is over; accepted says that the server has accepted the client. Never blocks.
func (b *Backend) Settled(accepted bool) {
	b.reports.handshaking.Add(-1)
	if accepted {
		b.reports.accepted.Store(true)
	}
}

// Heard tells the watch that the server says something to its clients.
func (b *Backend) Heard() { b.reports.heard.Store(true) }
