package handoff

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// doubleHVR issues and verifies the guard's own cookies, and also passes the server's HelloVerifyRequest to the verified
// client: RFC 6347 section 4.2.1 allows several. The client's next ClientHello carries the server's cookie, whatever that
// depends on.
type doubleHVR struct{ Verifier }

func (doubleHVR) preHandshake() relay.PreHandshake { return new(doubling) }

// doubling is one flow's second exchange.
type doubling struct {
	sequence hello.Sequence // of the ClientHello that the server answers
	guards   []byte         // the guard's cookie
	answered bool           // the client has sent a ClientHello with the server's cookie
}

// Client implements relay.PreHandshake: everything passes.
func (p *doubling) Client(d []byte, out *udpbatch.Queue) {
	out.Add(d, nil)
	var h hello.ClientHello
	if hello.Parse(d, &h) != hello.OK {
		return
	}
	if p.guards == nil {
		p.guards = bytes.Clone(h.Cookie)
	}
	p.sequence = hello.SequenceOf(d)
	p.answered = !bytes.Equal(h.Cookie, p.guards)
}

// Server implements relay.PreHandshake: answers of the server pass.
func (*doubling) Server([]byte) {}

// Verify implements relay.PreHandshake. The server numbers from the first ClientHello that it sees, but the client has already
// had a HelloVerifyRequest, and accepts this one only with the numbers of the ClientHello that it answers. Once the
// client has answered it, another one is a late copy.
func (p *doubling) Verify(d []byte, _ *udpbatch.Queue) relay.Verdict {
	if p.answered {
		return relay.Swallow
	}
	p.sequence.Put(d)
	return relay.Deliver
}
