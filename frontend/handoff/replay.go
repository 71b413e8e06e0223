package handoff

import (
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// replay issues and verifies the guard's own cookies, and lets a server that takes any cookie, but none in the first
// ClientHello it sees, have the exchange again: OpenSSL's SSL_accept with SSL_OP_COOKIE_EXCHANGE counts messages from
// the one without a cookie.
type replay struct{ Mode }

func (replay) prelude() relay.Prelude { return new(replaying) }

// replaying is one flow's exchange with the server. The first ClientHello is one of the guard's: it has the random and
// the version of the client's, for the server to ask for a cookie. It is in no transcript (RFC 6347 section 4.2.1), and
// so needs nothing that may stand in a later fragment of the client's.
type replaying struct {
	asked  int  // ClientHellos of the guard that no HelloVerifyRequest has answered yet
	passed bool // the client's ClientHello has gone to the server
	held   [][]byte
	size   int // bytes held
}

// holdAtMost bounds the bytes that a flow holds back, over the largest ClientHellos there are: some 1800 bytes with a
// post-quantum key share. What is more is dropped, and comes again with the client's retransmission.
const holdAtMost = 4096

// Client implements relay.Prelude. A client that sends its ClientHello again has waited for a second, so either the
// guard's or its answer was lost, or there will be none: then both ClientHellos go, and the server takes what it needs.
func (r *replaying) Client(d []byte, out *udpbatch.Queue) {
	if r.passed {
		out.Add(d, nil)
		return
	}
	var h hello.ClientHello
	if hello.Parse(d, &h) == hello.OK {
		r.asked++
		out.Add(firstHello(d, &h), nil)
		if r.passed = len(r.held) > 0; r.passed {
			r.held = nil
			out.Add(d, nil)
			return
		}
	}
	r.hold(d)
}

func (r *replaying) hold(d []byte) {
	if len(r.held) < relay.PreludeCap-1 && r.size+len(d) <= holdAtMost {
		r.held = append(r.held, append([]byte(nil), d...))
		r.size += len(d)
	}
}

// Verify implements relay.Prelude.
func (r *replaying) Verify(_ []byte, out *udpbatch.Queue) relay.Verdict {
	if r.asked == 0 {
		return relay.Refusal
	}
	r.asked--
	for _, d := range r.held {
		out.Add(d, nil)
	}
	r.held, r.passed = nil, true
	return relay.Swallow
}

// firstHello makes the ClientHello without a cookie that goes in front of d. Its record takes the number before d's:
// records that bear one twice are dropped as replayed.
func firstHello(d []byte, h *hello.ClientHello) []byte {
	q := hello.Probe{Version: h.Version, Random: *h.Random}
	if n := hello.SequenceOf(d).Record; n > 0 {
		q.RecordSeq = uint32(n - 1)
	}
	return q.Append(nil)
}
