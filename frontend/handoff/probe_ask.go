package handoff

import (
	"crypto/rand"
	"errors"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Timeouts of probing.
const (
	// brief is the timeout for a server that has answered before, where silence counts as an answer.
	brief = 500 * time.Millisecond
	// patient is the same where a wrong conclusion would do harm.
	patient = 1500 * time.Millisecond
	// greeting is the timeout for a server that may have started a handshake whose first datagram was lost: it
	// retransmits after 1 s and 2 s (RFC 6347 section 4.2.4.1).
	greeting = 3500 * time.Millisecond
	// repeats is how often questions are repeated whose answers contradict each other.
	repeats = 8
	// replayAttempts is from how many addresses a foreign cookie is presented after the question of a server that keeps state.
	replayAttempts = 5
	// shownWait is how long a server may take to start a handshake, per address.
	shownWait = 200 * time.Millisecond
	// aging is how long a cookie is kept to see whether it depends on time: clocks in cookies count seconds.
	aging = 1100 * time.Millisecond
)

// from opens a socket to the server.
func (q *probing) from(local netip.AddrPort) (line, error) {
	c, err := q.dial(local)
	if err == nil {
		q.conns = append(q.conns, c)
	}
	return c, err
}

// question encodes h as a datagram with a random of its own, which need not be secret.
func (q *probing) question(h hello.Probe) []byte {
	_, _ = rand.Read(h.Random[:])
	return h.Append(nil)
}

// again asks a server that has answered before; silence gives the empty reply. A server that keeps state is told to
// forget before it is asked again, because it may have answered.
func (q *probing) again(c line, question ...[]byte) (reply, error) {
	if !q.keeps {
		a, err := q.insist(q.ctx, c, brief, question...)
		return a, silent(err)
	}
	q.drain(q.ctx, c)
	for range leastAttempts {
		a, err := q.ask(q.ctx, c, max(firstWait, 2*q.rtt), question...)
		if !errors.Is(err, ErrNoAnswer) {
			return a, err
		}
		q.abort(c)
	}
	return reply{}, q.ctx.Err()
}

// silent treats silence as no error.
func silent(err error) error {
	if errors.Is(err, ErrNoAnswer) {
		return nil
	}
	return err
}

// fresh asks from an address that has not asked before, and leaves no state there.
func (q *probing) fresh(question ...[]byte) (reply, error) {
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return reply{}, err
	}
	a, err := q.again(c, question...)
	if a.hello {
		q.abort(c)
	} else {
		q.release(c)
	}
	return a, err
}

// release makes a server that keeps state per client forget c.
func (q *probing) release(c line) {
	if q.profile.AsksCookie && !q.profile.Stateless {
		q.abort(c)
	}
}

// shown returns the server's answer to a cookie; a handshake that it starts is aborted.
func (q *probing) shown(c line, h hello.Probe) (reply, error) {
	q.drain(q.ctx, c)
	if h.Random == ([32]byte{}) {
		_, _ = rand.Read(h.Random[:])
	}
	again := 0
	if q.profile.Stateless {
		again = 2
	}
	for began := time.Now(); ; h.RecordSeq++ { // a new record number each time, or the server drops the datagram as replayed
		a, err := q.ask(q.ctx, c, max(firstWait, 2*q.rtt), h.Append(nil))
		switch {
		case err == nil && q.greeted(&a):
			q.abort(c)
			return a, nil
		case err == nil:
			return a, nil
		case !errors.Is(err, ErrNoAnswer) || q.ctx.Err() != nil:
			return reply{}, err
		case time.Since(began) >= greeting && again > 0:
			// A server without state answers any cookie, except during a handshake: then its whole flight was
			// lost.
			q.abort(c)
			q.abort(c)
			began, again = time.Now(), again-1
		case time.Since(began) >= greeting:
			return reply{}, nil
		}
	}
}

// told returns what the server says at once to a cookie that is presented up to asks times; a handshake that it starts is
// aborted.
func (q *probing) told(c line, h hello.Probe, asks int) (reply, error) {
	_, _ = rand.Read(h.Random[:])
	q.drain(q.ctx, c)
	for ; asks > 0; asks-- {
		a, err := q.ask(q.ctx, c, max(shownWait, 2*q.rtt), h.Append(nil))
		if a.said() {
			if q.greeted(&a) {
				q.abort(c)
			}
			return a, nil
		}
		if err != nil && !errors.Is(err, ErrNoAnswer) {
			return a, err
		}
		h.RecordSeq++ // else the next one is dropped as replayed
	}
	return reply{}, nil
}

// late returns what a slow server has said meanwhile to addresses that seemed to get no answer.
func (q *probing) late(silent []line) (reply, error) {
	for _, c := range silent {
		d, err := q.exchange(q.ctx, c, settling)
		if err != nil && !errors.Is(err, ErrNoAnswer) {
			return reply{}, err
		}
		if a := readReply(d); a.hello || a.alert != 0 {
			return a, nil
		}
	}
	return reply{}, nil
}
