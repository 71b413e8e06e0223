package handoff

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Traits is what probing found out about a server.
type Traits struct {
	Stateless    bool `json:"stateless"`     // answers a first ClientHello with a HelloVerifyRequest
	CookieLength int  `json:"cookie_length"` // bytes
	Steady       bool `json:"steady"`        // the same cookie for the same ClientHello twice
	PerPort      bool `json:"per_port"`      // another cookie for another source port
	PerRandom    bool `json:"per_random"`    // another cookie for another random
	Trusts       bool `json:"trusts"`        // takes a ClientHello with any cookie
	Seq          int  `json:"hello_verify_message_seq"`
}

// kind picks the mode that fits, or says why none does.
func (t *Traits) kind() (Kind, error) {
	switch {
	case t.Trusts:
		return Trust, nil
	case !t.Stateless:
		return Auto, errors.New("it starts a handshake without asking for a cookie, and a server that does so takes no ClientHello with one as the first: switch its cookie exchange on (OpenSSL: DTLSv1_listen; GnuTLS: gnutls_dtls_cookie_send)")
	case t.CookieLength > hello.MaxCookie:
		return Auto, fmt.Errorf("its cookies are %d bytes, more than the %d that clients accept", t.CookieLength, hello.MaxCookie)
	case !t.Steady || t.PerRandom:
		return Auto, errors.New("its cookies depend on more than the client's address, so they cannot be harvested: let its cookie-verify callback accept every cookie (reachable only through dtlsguard), and use --handoff trust")
	case !t.PerPort:
		return Auto, errors.New("its cookies do not depend on the client's port, so a harvested one would fit every client: let its cookie-verify callback accept every cookie (reachable only through dtlsguard), and use --handoff trust")
	}
	return Harvest, nil
}

// why says in a few words what the choice of kind rests on.
func (t *Traits) why() string {
	if t.Trusts {
		return "the server accepts any cookie"
	}
	return fmt.Sprintf("the server's %d-byte cookies depend on the client's address and port alone", t.CookieLength)
}

// ErrNoAnswer says that the server sent nothing back to a ClientHello.
var ErrNoAnswer = errors.New("no answer")

// prober asks one server from sockets of its own.
type prober struct {
	server netip.AddrPort
	poller *udpbatch.Poller
	batch  *udpbatch.Batch
	queue  *udpbatch.Queue
}

func newProber(server netip.AddrPort) (*prober, error) {
	p := &prober{server: server, queue: udpbatch.NewQueue(1)}
	var err error
	if p.poller, err = udpbatch.NewPoller(1); err != nil {
		return nil, err
	}
	if p.batch, err = udpbatch.NewBatch(4); err != nil {
		p.poller.Close()
		return nil, err
	}
	return p, nil
}

func (p *prober) close() {
	p.batch.Close()
	p.poller.Close()
}

// ask sends question from c and returns the first datagram that comes back within wait: a part of the
// prober's memory until the next call.
func (p *prober) ask(ctx context.Context, c *udpbatch.Conn, question []byte, wait time.Duration) ([]byte, error) {
	if err := p.poller.Add(c.FD(), udpbatch.Event{}); err != nil {
		return nil, err
	}
	defer p.poller.Remove(c.FD())
	p.queue.Add(question, nil)
	if _, err := c.Send(p.queue); err != nil {
		return nil, refusal(err)
	}
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return nil, ErrNoAnswer
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if _, _, err := p.poller.Wait(int(min(left, 50*time.Millisecond).Milliseconds()) + 1); err != nil {
			return nil, err
		}
		p.batch.Reset()
		n, err := c.Recv(p.batch)
		if err != nil {
			return nil, refusal(err)
		}
		if n > 0 {
			return p.batch.Datagram(n - 1), nil
		}
	}
}

func refusal(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%w: nothing listens there", ErrNoAnswer)
	}
	return err
}

// insist asks until there is an answer, for at most patience.
func (p *prober) insist(ctx context.Context, c *udpbatch.Conn, question []byte, patience time.Duration) ([]byte, error) {
	wait := 100 * time.Millisecond
	for end := time.Now().Add(patience); ; wait = min(2*wait, time.Second) {
		began := time.Now()
		d, err := p.ask(ctx, c, question, wait)
		if err == nil || time.Until(end) <= 0 || ctx.Err() != nil {
			return d, err
		}
		select { // a refusal comes at once: do not spin on it
		case <-ctx.Done():
		case <-time.After(wait - time.Since(began)):
		}
	}
}

// probe finds out the server's traits. Its only trace at the server: where any cookie is accepted, one
// handshake that is called off at once.
func (p *prober) probe(ctx context.Context, patience time.Duration) (Traits, error) {
	var t Traits
	var conns [3]*udpbatch.Conn
	for i := range conns {
		c, err := udpbatch.Dial(p.server)
		if err != nil {
			return t, err
		}
		defer c.Close()
		conns[i] = c
	}
	question := func(seq uint16, random byte, cookie []byte) []byte {
		q := hello.Probe{Cookie: cookie, MessageSeq: seq, RecordSeq: uint32(seq)}
		_, _ = rand.Read(q.Random[:]) // any bytes will do: crypto/rand never fails, and this is no secret
		q.Random[0] = random
		return q.Append(nil)
	}
	first := question(0, 1, nil)
	d, err := p.insist(ctx, conns[0], first, patience)
	if err != nil {
		return t, err
	}
	c, ok := hello.HelloVerifyCookie(d)
	if !ok {
		return t, nil
	}
	known := bytes.Clone(c)
	t.Stateless, t.CookieLength, t.Seq = true, len(c), int(d[17])<<8|int(d[18])
	same := func(conn *udpbatch.Conn, q []byte) (bool, error) {
		d, err := p.insist(ctx, conn, q, patience)
		if err != nil {
			return false, err
		}
		c, ok := hello.HelloVerifyCookie(d)
		return ok && bytes.Equal(c, known), nil
	}
	var random, port bool
	if t.Steady, err = same(conns[0], first); err != nil {
		return t, err
	}
	if random, err = same(conns[0], question(0, 2, nil)); err != nil {
		return t, err
	}
	if port, err = same(conns[1], first); err != nil {
		return t, err
	}
	t.PerRandom, t.PerPort = !random, !port
	foreign := bytes.Repeat([]byte{0x5a}, max(1, min(len(known), hello.MaxCookie)))
	if d, err := p.ask(ctx, conns[2], question(1, 3, foreign), 500*time.Millisecond); err == nil {
		const serverHello = 2
		if t.Trusts = len(d) > 13 && d[0] == 22 && d[13] == serverHello; t.Trusts {
			p.callOff(conns[2])
		}
	}
	return t, nil
}

// callOff ends a handshake with a fatal user_canceled alert (RFC 5246 section 7.2).
func (p *prober) callOff(c *udpbatch.Conn) {
	p.queue.Add([]byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 2, 90}, nil)
	_, _ = c.Send(p.queue)
}
