package relay

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// State is how far an association has come. Each has its own idle time and its own list, least recently used
// last, so that the cheap ones can go first when room is needed.
type State uint8

// The states of a flow.
const (
	// Opening: a verified ClientHello was forwarded, the server has not taken it up yet.
	Opening State = iota
	// Established: the server answered the handshake.
	Established
	// Closing: one side sent an encrypted alert and nothing but alerts since; most likely a close_notify.
	Closing
	stateLen
)

// Side is one or both of a flow's ends.
type Side uint8

// The sides.
const (
	Server Side = 1 << iota
	Client
)

// Flow is one client's association.
type Flow struct {
	Client udpbatch.Endpoint
	Route  udpbatch.Route // the way back to the client
	Port   *Upstream
	State  State

	Prelude Prelude // what becomes of datagrams while Opening; nil: they pass

	Shaking Side // who has not come to the end of the handshake yet

	Born    int64 // time of the ClientHello
	noticed bool  // Silent reported it

	random [32]byte
	cookie [hello.MaxCookie]byte
	length uint8 // of cookie

	id         int32
	generation int32
	used       int64
	prev, next *Flow

	// Pending links the slots of a batch that wait to be sent to the server: first and last slot, -1 if none.
	Pending [2]int32
}

// Event names the flow to a Poller; Table.At finds it again.
func (f *Flow) Event() udpbatch.Event { return udpbatch.Event{A: f.id, B: f.generation} }

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

// list is a doubly linked list of flows with a sentinel; new ones in front.
type list struct{ head Flow }

func (l *list) init() { l.head.prev, l.head.next = &l.head, &l.head }

func (l *list) front(f *Flow) {
	f.prev, f.next = &l.head, l.head.next
	f.prev.next, f.next.prev = f, f
}

func (f *Flow) unlink() {
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = nil, nil
}

// last is the least recently used flow, nil if there is none.
func (l *list) last() *Flow {
	if l.head.prev == &l.head {
		return nil
	}
	return l.head.prev
}
