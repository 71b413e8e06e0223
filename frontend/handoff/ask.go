package handoff

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// askPatience is the timeout of Ask: a client's first retransmission timeout (RFC 6347 section 4.2.4.1).
const askPatience = time.Second

// Ask asks a server that needs no watch for a cookie, to see whether it is alive. The error is ErrNoAnswer if nothing
// came back; an answer that is not DTLS is an error, too.
func Ask(ctx context.Context, server netip.AddrPort) error {
	p, err := newProber(server)
	if err != nil {
		return err
	}
	defer p.close()
	c, err := p.dial(netip.AddrPort{})
	if err != nil {
		return err
	}
	defer c.Close()
	a, err := p.insist(ctx, c, askPatience, (&hello.Probe{}).Append(nil))
	if err == nil && a.hello {
		p.abort(c) // the server began a handshake
	}
	if err == nil && !a.said() {
		return errNotDTLS
	}
	return err
}

// NobodyListens reports whether err means that nothing listens at the server's address.
func NobodyListens(err error) bool { return errors.Is(err, errRefused) }
