package handoff

import (
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// replay issues and verifies the guard's own cookies, and lets a server that takes any cookie, but none in the first
// ClientHello it sees, have the exchange again: OpenSSL's SSL_accept with SSL_OP_COOKIE_EXCHANGE counts messages from
// the one without a cookie.
type replay struct{ Verifier }

func (replay) prelude() relay.Prelude { return new(replaying) }

// replaying is one flow's exchange with the server. The first ClientHello is one of the guard's: it has the random and
// the version of the client's, for the server to ask for a cookie. It is in no transcript (RFC 6347 section 4.2.1), and
// so needs nothing that may stand in a later fragment of the client's.
type replaying struct {
	asked  int      // ClientHellos of the guard that no HelloVerifyRequest has answered yet
	begun  bool     // the client has sent its ClientHello
	passed bool     // what the client sends goes to the server at once
	held   [][]byte // the client's last ClientHello, while asked
	size   int      // bytes held
	most   int      // ... at most

	client uint64 // record number of the client's first ClientHello with a cookie
	server uint64 // ... and the one after the server's last HelloVerifyRequest
}

// holdAtMost bounds the bytes that a flow holds back, for a round trip to the server: as many as the first fragment says that
// the ClientHello has, in fragments of 256 bytes, a tenth of which are headers, and some for what may come after it. What is
// more is dropped, and comes again with the client's retransmission.
func holdAtMost(first []byte) int { return hello.MessageLength(first)*9/8 + 1024 }

// Client implements relay.Prelude. A client that sends its ClientHello again has waited for a second, so the guard's, its
// own or an answer was lost, and nobody here knows which: both go again, each time, and the server takes what it needs.
func (r *replaying) Client(d []byte, out *udpbatch.Queue) {
	var h hello.ClientHello
	if hello.Parse(d, &h) == hello.OK {
		if !r.begun {
			r.client = hello.SequenceOf(d).Record
		}
		out.Add(firstHello(d, &h, r.begun), nil)
		r.asked++
		r.passed = r.passed || r.begun
		r.begun, r.held, r.size, r.most = true, nil, 0, holdAtMost(d)
	}
	if r.passed {
		out.Add(d, nil)
	}
	if r.asked > 0 {
		r.hold(d)
	}
}

func (r *replaying) hold(d []byte) {
	if len(r.held) < relay.PreludeCap-1 && r.size+len(d) <= r.most {
		r.held = append(r.held, append([]byte(nil), d...))
		r.size += len(d)
	}
}

// Verify implements relay.Prelude. What has gone to the server already goes once more: servers that make a socket for
// each client lose what comes meanwhile, and a record that one has twice it drops as replayed.
func (r *replaying) Verify(d []byte, out *udpbatch.Queue) relay.Verdict {
	if r.asked == 0 {
		return relay.Refusal
	}
	r.server = max(r.server, hello.SequenceOf(d).Record+1)
	r.asked--
	for _, d := range r.held {
		out.Add(d, nil)
	}
	r.held, r.size, r.passed = nil, 0, true
	return relay.Swallow
}

// Server implements relay.Prelude. The client has had answers with the record numbers of its own ClientHellos (RFC 6347 section
// 4.2.1), as many as were lost and asked for again, and drops records that bear one of them as replayed (section 4.1.2.6). The
// server has been asked once, and goes on with the number after its answer: so its numbers are moved to where the client's
// ClientHello stands, unless they are there already.
func (r *replaying) Server(d []byte) {
	if r.client > r.server {
		hello.ShiftRecords(d, r.client-r.server)
	}
}

// laterRecord is how far in front of the client's the record of a later ClientHello of the guard's is: behind all that
// the client sends soon, and not so far that the server takes those for older than its window of 64 (RFC 6347 section 4.1.2.6).
const laterRecord = 48

// firstHello makes the ClientHello without a cookie that goes in front of d. Its record has a number that none of the
// client's has, as records that bear one twice are dropped as replayed: the one before d's, which the client's own
// first ClientHello had, and that went no further than here. But again says that the server may have had that already.
func firstHello(d []byte, h *hello.ClientHello, again bool) []byte {
	q := hello.Probe{Version: h.Version, Random: *h.Random}
	switch n := hello.SequenceOf(d).Record; {
	case again:
		q.RecordSeq = uint32(n + laterRecord)
	case n > 0:
		q.RecordSeq = uint32(n - 1)
	}
	return q.Append(nil)
}
