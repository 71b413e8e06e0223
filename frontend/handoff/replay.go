package handoff

import (
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// replay issues and verifies the guard's own cookies, and repeats the exchange with a server that accepts any cookie, but
// not in the first ClientHello: OpenSSL's SSL_accept with SSL_OP_COOKIE_EXCHANGE counts messages from the one without a
// cookie.
type replay struct{ Verifier }

func (replay) preHandshake() relay.PreHandshake { return new(replaying) }

// replaying is one flow's exchange with the server. The guard sends the first ClientHello itself, with random and version
// of the client's, so that the server asks for a cookie. That ClientHello is in no transcript (RFC 6347 section 4.2.1),
// so it needs nothing from a later fragment of the client's.
type replaying struct {
	asked  int      // ClientHellos of the guard without a HelloVerifyRequest so far
	begun  bool     // the client has sent its ClientHello
	passed bool     // datagrams of the client go straight to the server
	held   [][]byte // the client's latest ClientHello, while asked is above 0
	size   int      // bytes buffered
	most   int      // ... at most

	client uint64 // record number of the client's first ClientHello with a cookie
	server uint64 // ... and the one after the server's latest HelloVerifyRequest
}

// holdAtMost bounds the bytes that a flow buffers during a round trip to the server: the length of the ClientHello by its
// first fragment, in fragments of 256 bytes, a tenth of which are headers, and some for what may follow. The rest is
// dropped, and the client retransmits it.
func holdAtMost(first []byte) int { return hello.MessageLength(first)*9/8 + 1024 }

// Client implements relay.PreHandshake. A client that retransmits its ClientHello has waited for a second, so the guard's
// ClientHello, its own, or an answer was lost, and the guard cannot know which: it sends both each time, and the server
// takes what it needs.
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
	if len(r.held) < relay.PreHandshakeCap-1 && r.size+len(d) <= r.most {
		r.held = append(r.held, append([]byte(nil), d...))
		r.size += len(d)
	}
}

// Verify implements relay.PreHandshake. It repeats what has already gone to the server: servers that make a socket per client
// lose what arrives meanwhile, and drop a repeated record as replayed.
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

// Server implements relay.PreHandshake. The client has had answers with the record numbers of its own ClientHellos (RFC 6347
// section 4.2.1), retransmissions included, and drops records that repeat one of them as replayed (section 4.1.2.6). The
// server has been asked once, and continues with the number after its answer: so its numbers are shifted to that of the
// client's ClientHello, unless they are there already.
func (r *replaying) Server(d []byte) {
	if r.client > r.server {
		hello.ShiftRecords(d, r.client-r.server)
	}
}

// laterRecord is how far ahead of the client's record number that of a repeated ClientHello of the guard is: ahead of
// what the client sends soon, and not so far that the server takes those for older than its window of 64 (RFC 6347
// section 4.1.2.6).
const laterRecord = 48

// firstHello makes the ClientHello without a cookie that precedes d. Its record needs a number that none of the client's
// has, because the server drops repeated numbers as replayed: the one before d's, which the client's own first
// ClientHello had, and that one went no further than the guard. again: the server may have had that number already.
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
