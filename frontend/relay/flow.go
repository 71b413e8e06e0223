package relay

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Flow is one client's association. While its client starts another one, there are two: see Rival.
type Flow struct {
	Client   udpbatch.Endpoint
	Route    udpbatch.Route // the way back to the client
	Upstream *Upstream
	Server   int32 // the owner's number of the back end
	State    State

	PreHandshake PreHandshake // handles datagrams until the server answers; nil: they pass

	Handshaking bool // the outcome of the handshake is not yet reported

	Born            int64 // time of the ClientHello
	ToServer        Traffic
	ToClient        Traffic
	progress        progress
	rank            uint8 // of its list while half-open
	silenceReported bool  // Sweep reported the server's silence

	random [32]byte
	cookie [hello.MaxRetryCookie]byte
	length uint8 // of cookie

	id         int32
	generation int32
	used       int64 // time of the last datagram; while half-open, of the last of the handshake
	prev, next *Flow
	rival      *Flow // the newer flow of the same client
	older      *Flow // the flow whose rival this one is

	// ClientSpoke: the client sent something since Confirmed, the last time that a datagram to it confirmed its next hop.
	ClientSpoke bool
	Confirmed   int64

	// Pending links the entries of a batch that wait to be sent to the server: first and last index, -1 if none.
	Pending [2]int32
}

// Traffic counts what a flow has carried in one direction.
type Traffic struct{ Packets, Bytes uint64 } // datagrams, and bytes of their payload

// Count counts a datagram of n bytes.
func (t *Traffic) Count(n int) {
	t.Packets++
	t.Bytes += uint64(n)
}

// Used is the time of the flow's last datagram; while half-open, of the last of its handshake.
func (f *Flow) Used() int64 { return f.used }

// Event identifies the flow to a Poller; Table.At finds it again.
func (f *Flow) Event() udpbatch.Event { return udpbatch.Event{A: f.id, B: f.generation} }

// Answered reports whether the server accepted the client's ClientHello.
func (f *Flow) Answered() bool { return f.progress&answered != 0 }

// Unprove notes that f was opened without a proof of its client's address.
func (f *Flow) Unprove() { f.progress |= unproved }

// Unproved reports whether f was opened without a proof of its client's address, and nothing has proved it since. That f is
// established does not: in an abbreviated handshake a server sends its Finished to whoever forges a ClientHello with a session of his
// own, and what the client sends may be forged as well. Nor does data that a server sends before it has heard of its Finished.
func (f *Flow) Unproved() bool { return f.progress&unproved != 0 }

// Rival is a newer flow of f's client, from the same address and port; nil if there is none. Both live until the
// handshake of the new one is proved: until then its ClientHello may be spoofed (RFC 6347 section 4.2.8).
func (f *Flow) Rival() *Flow { return f.rival }

// Replaces returns the older flow that f replaces now, nil if there is none, or if it is too early.
func (f *Flow) Replaces() *Flow {
	if f.progress&proved == 0 {
		return nil
	}
	return f.older
}

// Alone reports whether f's client has no other flow.
func (f *Flow) Alone() bool { return f.rival == nil && f.older == nil }

// Repeats reports whether h is a retransmission of the ClientHello that opened f. With a pre-handshake it may carry another
// cookie, the server's: the random, which only the client's peer has seen, suffices.
func (f *Flow) Repeats(h *hello.ClientHello) bool {
	return *h.Random == f.random && (f.PreHandshake != nil || bytes.Equal(h.Cookie, f.cookie[:f.length]))
}

// Cookie is the cookie that opened f.
func (f *Flow) Cookie() []byte { return f.cookie[:f.length] }

// remember stores what Repeats compares.
func (f *Flow) remember(h *hello.ClientHello) {
	f.random = *h.Random
	f.length = uint8(copy(f.cookie[:], h.Cookie))
}
