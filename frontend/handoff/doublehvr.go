package handoff

import (
	"bytes"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// doubleHVR issues and verifies the guard's own cookies, and lets the verified client have the server's own
// HelloVerifyRequest, too: RFC 6347 section 4.2.1 allows several. The client's next ClientHello carries the server's
// cookie, whatever that depends on.
type doubleHVR struct{ Verifier }

func (doubleHVR) prelude() relay.Prelude { return new(doubling) }

// doubling is one flow's second exchange.
type doubling struct {
	sequence hello.Sequence // of the ClientHello that the server answers
	guards   []byte         // the guard's cookie
	answered bool           // the client has sent a ClientHello with the server's cookie
}

// Client implements relay.Prelude: all passes.
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

// Server implements relay.Prelude: what the server says passes.
func (*doubling) Server([]byte) {}

// Verify implements relay.Prelude. The server begins to count with what it sees first; the client has seen a
// HelloVerifyRequest before, and takes this one only with the numbers of the ClientHello that it answers. When the
// client has answered it, another is a late copy.
func (p *doubling) Verify(d []byte, _ *udpbatch.Queue) relay.Verdict {
	if p.answered {
		return relay.Swallow
	}
	p.sequence.Put(d)
	return relay.Deliver
}
