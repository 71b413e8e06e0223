package relay

import "github.com/dtlsguard/dtlsguard/frontend/udpbatch"

// Prelude is what a flow does until the server takes its client up, where it takes more than to forward the
// client's ClientHello. Each flow has one of its own, which ends with it.
type Prelude interface {
	// Client takes a datagram of the client and puts on out what goes to the server now.
	Client(d []byte, out *udpbatch.Queue)
	// Verify takes a HelloVerifyRequest of the server and puts on out what goes to the server now. What becomes of
	// d, which it may change, is the verdict.
	Verify(d []byte, out *udpbatch.Queue) Verdict
	// Server takes a datagram of the server that begins with a record of epoch 0 and goes to the client, and may change it.
	Server(d []byte)
}

// Verdict is what becomes of a HelloVerifyRequest that the server sends to a verified client.
type Verdict uint8

// The verdicts.
const (
	Swallow Verdict = iota // it was for the guard
	Deliver                // it goes to the client
	Refusal                // it says that the server does not take the client up: the flow ends
)

// PreludeCap is the most datagrams that a Prelude puts on a queue at a time: the ones it holds back and one of its
// own. The longest ClientHello that is looked at, of 2^14 bytes, is 72 fragments of 256 bytes, the smallest that clients
// fall back to.
const PreludeCap = 80
