package relay

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Flow is one client's association. While its client begins another one, there are two: see Rival.
type Flow struct {
	Client udpbatch.Endpoint
	Route  udpbatch.Route // the way back to the client
	Port   *Upstream
	Server int32 // the owner's number of the back end
	State  State

	Prelude Prelude // what becomes of datagrams until the server answers; nil: they pass

	Shaking bool // nobody was told how the handshake ended

	Born     int64 // time of the ClientHello
	ToServer Traffic
	ToClient Traffic
	progress progress
	rank     uint8 // of the list that it is in while half-open
	noticed  bool  // Sweep reported the server's silence

	random [32]byte
	cookie [hello.MaxRetryCookie]byte
	length uint8 // of cookie

	id         int32
	generation int32
	used       int64 // time of the last datagram; while half-open, of the last of the handshake
	prev, next *Flow
	rival      *Flow // the newer flow of the same client
	older      *Flow // the flow that this one is the rival of

	// Heard: the client spoke since Confirmed, the time when something was last sent to it that confirmed its next hop.
	Heard     bool
	Confirmed int64

	// Pending links the slots of a batch that wait to be sent to the server: first and last slot, -1 if none.
	Pending [2]int32
}

// Traffic counts what a flow has carried in one direction.
type Traffic struct{ Packets, Bytes uint64 } // datagrams, and bytes of their payload

// Count counts a datagram of n bytes.
func (t *Traffic) Count(n int) {
	t.Packets++
	t.Bytes += uint64(n)
}

// Used is the time of the flow's last datagram; while it is half-open, of the last of its handshake.
func (f *Flow) Used() int64 { return f.used }

// Event names the flow to a Poller; Table.At finds it again.
func (f *Flow) Event() udpbatch.Event { return udpbatch.Event{A: f.id, B: f.generation} }

// Answered reports whether the server took the client's ClientHello.
func (f *Flow) Answered() bool { return f.progress&answered != 0 }

// Rival is the flow that f's client has begun since, from the same address and port; nil if there is none. Both live until the
// handshake of the new one is proved: until then its ClientHello may have been somebody else's (RFC 6347 section 4.2.8).
func (f *Flow) Rival() *Flow { return f.rival }

// Replaces is the older flow whose place f now takes, nil if there is none, or its time has not come.
func (f *Flow) Replaces() *Flow {
	if f.progress&proved == 0 {
		return nil
	}
	return f.older
}

// Alone reports whether f's client has no other flow.
func (f *Flow) Alone() bool { return f.rival == nil && f.older == nil }

// Repeats reports whether h is a retransmission of the ClientHello that opened f. With a prelude it may carry another
// cookie, the server's: its random, which nobody but the client's peer has seen, is enough.
func (f *Flow) Repeats(h *hello.ClientHello) bool {
	return *h.Random == f.random && (f.Prelude != nil || bytes.Equal(h.Cookie, f.cookie[:f.length]))
}

// Cookie is the cookie that opened f.
func (f *Flow) Cookie() []byte { return f.cookie[:f.length] }

// remember notes what Repeats compares.
func (f *Flow) remember(h *hello.ClientHello) {
	f.random = *h.Random
	f.length = uint8(copy(f.cookie[:], h.Cookie))
}
