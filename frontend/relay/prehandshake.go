package relay

import "github.com/dtlsguard/dtlsguard/frontend/udpbatch"

// PreHandshake is what a flow does until the server accepts its client, where forwarding the client's ClientHello is not
// enough. Each flow has its own, which ends with it.
type PreHandshake interface {
	// Client handles a datagram of the client and queues on out what goes to the server now.
	Client(d []byte, out *udpbatch.Queue)
	// Verify handles a HelloVerifyRequest of the server and queues on out what goes to the server now. It returns the
	// verdict on d, which it may change.
	Verify(d []byte, out *udpbatch.Queue) Verdict
	// Server handles a datagram of the server that starts with a record of epoch 0 and goes to the client, and may
	// change it.
	Server(d []byte)
}

// Verdict decides on a HelloVerifyRequest that the server sends to a verified client.
type Verdict uint8

// The verdicts.
const (
	Swallow Verdict = iota // it was for the guard
	Deliver                // it goes to the client
	Refusal                // the server does not accept the client: the flow ends
)

// PreHandshakeCap is the most datagrams that a PreHandshake queues at a time: those that it buffers and one of its own. The longest
// ClientHello that is parsed, of 2^14 bytes, is 72 fragments of 256 bytes, the smallest that clients fall back to.
const PreHandshakeCap = 80
