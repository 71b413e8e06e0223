package handoff

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// ErrNoAnswer reports that the server did not answer a ClientHello.
var ErrNoAnswer = errors.New("no answer")

// errRefused reports in addition that nothing listens there.
var errRefused = fmt.Errorf("%w: nothing listens there", ErrNoAnswer)

// errNotDTLS reports that what the server answers to a ClientHello is none of what a DTLS server says.
var errNotDTLS = errors.New("it answers, but not in DTLS")

// prober asks one server.
type prober struct {
	network
	server   netip.AddrPort
	ring     *cookie.Keyring // secrets that the server may share; nil: none
	question []byte          // the first ClientHello that asks for a cookie

	rtt  time.Duration // the longest time of an answer to a question sent once; 0: unknown
	owed map[line]int  // questions that had no answer yet
}

func newProber(server netip.AddrPort) (*prober, error) {
	n, err := newSockets(server)
	if err != nil {
		return nil, err
	}
	return proberOn(n, server), nil
}

func proberOn(n network, server netip.AddrPort) *prober {
	return &prober{network: n, server: server, question: (&hello.Probe{}).Append(nil), owed: make(map[line]int)}
}

// reply is what a server says to a ClientHello.
type reply struct {
	cookie   []byte // of a HelloVerifyRequest; nil: it is none
	sequence hello.Sequence
	hello    bool   // it is a ServerHello
	version  uint16 // ... of this version
	alert    byte   // it is a fatal alert, of this description; 0: it is none
}

func readReply(d []byte) (a reply) {
	if c, ok := hello.HelloVerifyCookie(d); ok {
		a.cookie, a.sequence = append([]byte{}, c...), hello.SequenceOf(d) // d lives until the next question
	} else if a.version, a.hello = hello.ServerVersion(d); a.hello && len(d) >= minSequence {
		a.sequence = hello.SequenceOf(d)
	} else if hello.IsAlert(d) && len(d) >= alertLength && d[alertLength-2] == fatal {
		a.alert = d[alertLength-1]
	}
	return a
}

// An alert that is not encrypted (RFC 5246 section 7.2).
const (
	alertLength = 13 + 2
	fatal       = 2
)

// minSequence is the least length for SequenceOf.
const minSequence = 13 + 12

// said reports whether a is a known kind of answer.
func (a *reply) said() bool { return a.cookie != nil || a.hello || a.alert != 0 }

// hangUp closes a socket.
func (p *prober) hangUp(c line) {
	delete(p.owed, c)
	_ = c.Close()
}

// is reports whether a asks for cookie c.
func (a *reply) is(c []byte) bool { return a.cookie != nil && bytes.Equal(a.cookie, c) }

// ask sends a question from c and returns the first answer within wait.
func (p *prober) ask(ctx context.Context, c line, wait time.Duration, question ...[]byte) (reply, error) {
	d, err := p.exchange(ctx, c, wait, question...)
	p.owed[c]++
	if err != nil {
		return reply{}, err
	}
	if p.owed[c]--; p.owed[c] == 0 {
		delete(p.owed, c)
	}
	return readReply(d), nil
}

// insist asks until there is an answer, for at most patience, and of a distant server at least so often that loss does
// not explain silence.
func (p *prober) insist(ctx context.Context, c line, patience time.Duration, question ...[]byte) (reply, error) {
	return p.insistOn(ctx, c, leastAttempts, patience, question...)
}

// insistOn asks at least a given number of times.
func (p *prober) insistOn(ctx context.Context, c line, least int, patience time.Duration, question ...[]byte) (reply, error) {
	p.drain(ctx, c)
	wait := max(min(firstWait, patience), 2*p.rtt)
	began := time.Now()
	for n := 1; ; n++ {
		sent := time.Now()
		a, err := p.ask(ctx, c, wait, question...)
		if err == nil && (n == 1 || p.rtt == 0) {
			p.rtt = min(max(p.rtt, time.Since(began), time.Nanosecond), time.Second) // a virtual network may take no time
		}
		if err == nil || n >= least && time.Since(began) >= patience || ctx.Err() != nil {
			return a, err
		}
		sleep(ctx, wait-time.Since(sent)) // a refusal comes at once: do not spin on it
		if p.rtt == 0 {
			wait = min(2*wait, time.Second)
		}
	}
}

const (
	// firstWait is the timeout of an answer before the round trip is known.
	firstWait = 100 * time.Millisecond
	// leastAttempts is how often a server is asked before silence counts as its answer. With a loss of 5 % that many
	// lost datagrams have a probability of 10^-8.
	leastAttempts = 8
	// settling is how much longer than a round trip a late answer is waited for.
	settling = 20 * time.Millisecond
)

// drain waits for late answers to earlier questions from c, which would be taken for answers to the next one.
func (p *prober) drain(ctx context.Context, c line) {
	for end := time.Now().Add(2*p.rtt + settling); p.owed[c] > 0; p.owed[c]-- {
		if _, err := p.exchange(ctx, c, time.Until(end)); err != nil {
			break
		}
	}
	delete(p.owed, c)
}

func sleep(ctx context.Context, d time.Duration) {
	if d > 0 {
		pause(ctx, d)
	}
}

// Abort makes a server forget a client's handshake: a fatal user_canceled alert, in a record numbered after all that a client
// sends in a handshake. Servers that have encrypted something already, or speak DTLS 1.3, drop it.
var Abort = []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 2, 90}

// abort ends a handshake with a fatal user_canceled alert (RFC 5246 section 7.2), in a record numbered after those of all
// questions.
func (p *prober) abort(c line) { p.send(c, userCanceled) }

var userCanceled = []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 90}
