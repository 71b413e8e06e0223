package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// ErrNoAnswer says that the server sent nothing back to a ClientHello.
var ErrNoAnswer = errors.New("no answer")

// errRefused says besides that nothing listens there.
var errRefused = fmt.Errorf("%w: nothing listens there", ErrNoAnswer)

// prober asks one server from sockets of its own.
type prober struct {
	server   netip.AddrPort
	poller   *udpbatch.Poller
	batch    *udpbatch.Batch
	queue    *udpbatch.Queue
	ring     *cookie.Keyring // secrets that the server may have, too; nil: none
	question []byte          // the first ClientHello that asks for a cookie
}

// questionCap is the most datagrams of a question: a ClientHello in two fragments.
const questionCap = 2

func newProber(server netip.AddrPort) (*prober, error) {
	p := &prober{server: server, queue: udpbatch.NewQueue(questionCap), question: (&hello.Probe{}).Append(nil)}
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

// reply is what a server says to a ClientHello.
type reply struct {
	cookie   []byte // of a HelloVerifyRequest; nil: it is none
	sequence hello.Sequence
	hello    bool   // it is a ServerHello
	version  uint16 // ... of this version
}

func readReply(d []byte) (a reply) {
	if c, ok := hello.HelloVerifyCookie(d); ok {
		a.cookie, a.sequence = append([]byte{}, c...), hello.SequenceOf(d) // d lives until the next question
	} else if a.version, a.hello = hello.ServerVersion(d); a.hello && len(d) >= minSequence {
		a.sequence = hello.SequenceOf(d)
	}
	return a
}

// minSequence is the least length of what SequenceOf can read.
const minSequence = 13 + 12

// is reports whether a asks for cookie c.
func (a *reply) is(c []byte) bool { return a.cookie != nil && bytes.Equal(a.cookie, c) }

// ask sends a question from c and returns the first answer that comes within wait.
func (p *prober) ask(ctx context.Context, c *udpbatch.Conn, wait time.Duration, question ...[]byte) (reply, error) {
	for n := 1; n > 0; { // what an earlier question still brought
		p.batch.Reset()
		n, _ = c.Recv(p.batch)
	}
	if err := p.poller.Add(c.FD(), udpbatch.Event{}); err != nil {
		return reply{}, err
	}
	defer p.poller.Remove(c.FD())
	for _, d := range question {
		p.queue.Add(d, nil)
	}
	if _, err := c.Send(p.queue); err != nil {
		return reply{}, refusal(err)
	}
	for end := time.Now().Add(wait); ; {
		left := time.Until(end)
		if left <= 0 {
			return reply{}, ErrNoAnswer
		}
		if err := ctx.Err(); err != nil {
			return reply{}, err
		}
		if _, _, err := p.poller.Wait(int(min(left, 50*time.Millisecond).Milliseconds()) + 1); err != nil {
			return reply{}, err
		}
		p.batch.Reset()
		n, err := c.Recv(p.batch)
		if err != nil {
			return reply{}, refusal(err)
		}
		if n > 0 {
			return readReply(p.batch.Datagram(0)), nil
		}
	}
}

func refusal(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) {
		return errRefused
	}
	return err
}

// insist asks until there is an answer, for at most patience.
func (p *prober) insist(ctx context.Context, c *udpbatch.Conn, patience time.Duration, question ...[]byte) (reply, error) {
	wait := min(100*time.Millisecond, patience)
	for end := time.Now().Add(patience); ; wait = min(2*wait, time.Second) {
		began := time.Now()
		a, err := p.ask(ctx, c, wait, question...)
		if err == nil || time.Until(end) <= 0 || ctx.Err() != nil {
			return a, err
		}
		select { // a refusal comes at once: do not spin on it
		case <-ctx.Done():
		case <-time.After(wait - time.Since(began)):
		}
	}
}

// abort ends a handshake with a fatal user_canceled alert (RFC 5246 section 7.2), in a record behind those of all
// questions.
func (p *prober) abort(c *udpbatch.Conn) {
	p.queue.Add(userCanceled, nil)
	_, _ = c.Send(p.queue)
}

var userCanceled = []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 90}
