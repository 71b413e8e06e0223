package handoff

import "sync/atomic"

// reports are what workers tell the watch of a back end.
type reports struct {
	wake        chan struct{}
	recheck     atomic.Bool   // a client was not accepted, for whatever reason
	refused     atomic.Bool   // the server refused a cookie
	gone        atomic.Bool   // nothing listened at its address
	started     atomic.Uint64 // handshakes started
	handshaking atomic.Int64  // ... and in progress
	accepted    atomic.Bool   // the server has accepted a client since the last harvest
	serverSpoke atomic.Bool   // the server sent something to a client
}

// urgent reports whether the watch must look at once.
func (r *reports) urgent() bool { return r.refused.Load() || r.gone.Load() }

// Symptom is a reason to look at the server at once.
type Symptom uint8

// Suspicious reactions of a server to a verified client.
const (
	// Unanswered: the server was silent, or sent an alert.
	Unanswered Symptom = iota
	// Refused: the server answered with a HelloVerifyRequest, so it did not know the cookie.
	Refused
	// Gone: nothing listens there.
	Gone
)

// Recheck tells the watch that the server did not accept a verified client. It never blocks.
func (b *Backend) Recheck(s Symptom) {
	switch r := &b.reports; s {
	case Refused:
		r.refused.Store(true)
	case Gone:
		r.gone.Store(true)
	}
	b.reports.recheck.Store(true)
	select {
	case b.reports.wake <- struct{}{}:
	default:
	}
}

// HandshakeStarted tells the watch that a client's handshake with the server starts. It never blocks.
func (b *Backend) HandshakeStarted() {
	b.reports.started.Add(1)
	b.reports.handshaking.Add(1)
}

// HandshakeDone tells the watch that a handshake is over, and whether the server has accepted the client. It never blocks.
func (b *Backend) HandshakeDone(accepted bool) {
	b.reports.handshaking.Add(-1)
	if accepted {
		b.reports.accepted.Store(true)
	}
}

// ServerSpoke tells the watch that the server sent something to a client.
func (b *Backend) ServerSpoke() { b.reports.serverSpoke.Store(true) }
