package sample

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// stage is the answer that a client waits for.
type stage int

const (
	asked    stage = iota // the first answer
	again                 // the answer to the repeated question
	returned              // the server's reaction to the cookie
	twice                 // ... to its second cookie
)

// client asks for a cookie, repeats the question, and may return the cookie.
type client struct {
	conn    *udpbatch.Conn
	stage   stage
	hello   []byte // without a cookie
	cookie  []byte // the latest
	asks    answer.Question
	sent    time.Time
	returns bool
}

// The positions of the random in a ClientHello's datagram (RFC 6347 section 4.2.1).
const randomAt, randomEnd = 27, 59

// second returns h with a cookie, as the n-th ClientHello of a handshake, counted from 0. Record and message numbers
// count on from one ClientHello to the next (RFC 6347 sections 4.1 and 4.2.2).
func second(h, cookie []byte, n uint16) ([]byte, error) {
	t, err := traffic.WithCookie(h, cookie)
	if err != nil {
		return nil, err
	}
	hello.Sequence{Record: uint64(n) + 1, Message: n}.Put(t.Bytes) // the repeated first ClientHello is a record too
	return t.Bytes, nil
}

// start starts another client, unless too many are waiting.
func (s *Sample) start() error {
	slot := slices.Index(s.clients[:], nil)
	if slot < 0 {
		return nil
	}
	conn, err := dial(s.config.Source(), s.config.Target)
	if err != nil {
		return err
	}
	if err := s.poller.Add(conn.FD(), udpbatch.Event{A: int32(slot)}); err != nil {
		return errors.Join(err, conn.Close())
	}
	c := &client{conn: conn, hello: slices.Clone(s.config.Hello), returns: s.returns()}
	for i := randomAt; i < randomEnd; i++ {
		c.hello[i] = byte(rand.Uint32())
	}
	hello.Sequence{}.Put(c.hello)
	s.clients[slot] = c
	s.started++
	s.underWay++
	c.ask(c.hello, asked)
	return nil
}

// returns reports whether the client that starts now will return its cookie. Clients that do not come first: a server
// that serves only one client then still shows that it answers.
func (s *Sample) returns() bool {
	n := uint64(s.config.Return)
	return n > 0 && s.started%n == n-1
}

// ask sends a ClientHello. A failed send counts as a lost datagram: the client times out.
func (c *client) ask(d []byte, next stage) {
	c.stage, c.asks = next, answer.QuestionOf(d)
	c.sent, _ = send(c.conn, d)
}

// end closes a client's socket, and makes a server that has accepted the client forget it.
func (s *Sample) end(slot int, known bool) {
	c := s.clients[slot]
	if known {
		_, _ = send(c.conn, userCanceled)
	}
	c.conn.Close()
	s.clients[slot] = nil
	s.underWay--
}

// userCanceled is a fatal user_canceled alert (RFC 5246 section 7.2) in a record numbered after those of all ClientHellos.
var userCanceled = []byte{21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 90}

// giveUp ends the clients that have timed out by now, or all of them.
func (s *Sample) giveUp(now time.Time) {
	for slot, c := range s.clients {
		switch {
		case c == nil:
		case now.IsZero():
			s.end(slot, false)
		case now.Sub(c.sent) > patience:
			s.unanswered(slot, Silent)
		}
	}
}

// unanswered ends a client's stage without an answer. inTheEnd is the event for a client that has returned its cookie.
func (s *Sample) unanswered(slot int, inTheEnd Event) {
	switch c := s.clients[slot]; c.stage {
	case asked:
		s.count(Clients)
		s.count(Unanswered)
		s.end(slot, false)
	case again:
		s.count(Unrepeated)
		s.giveBack(slot)
	default:
		s.count(inTheEnd)
		s.end(slot, false)
	}
}

// read handles the datagrams that a client has received.
func (s *Sample) read(slot int) {
	c := s.clients[slot]
	if c == nil {
		return
	}
	d, at, err := receive(c.conn, s.in[:])
	switch {
	case errors.Is(err, errNothing):
	case errors.Is(err, unix.ECONNREFUSED): // nothing listens there
		s.unanswered(slot, Refused)
	case err != nil:
		s.unanswered(slot, Silent)
	case c.stage == asked || c.stage == again:
		s.verified(slot, d, at)
	default:
		s.serverReacted(slot, d)
	}
}

// verified handles an answer to a ClientHello without a cookie.
func (s *Sample) verified(slot int, d []byte, at time.Time) {
	c := s.clients[slot]
	cookie, fault := answer.Check(d, c.asks)
	s.mu.Lock()
	_ = s.since.times.RecordValue(max(0, at.Sub(c.sent).Microseconds())) // the timeout is within its range
	if fault != answer.None {
		s.since.events[Wrong]++
		s.since.faults[fault]++
	}
	s.mu.Unlock()
	switch {
	case c.stage == asked:
		s.count(Clients)
		if cookie == nil {
			s.end(slot, true)
			return
		}
		s.compare(c, cookie)
		c.cookie = slices.Clone(cookie)
		hello.Sequence{Record: 1}.Put(c.hello)
		c.ask(c.hello, again)
		return
	case cookie == nil:
		s.count(Unrepeated)
	case bytes.Equal(cookie, c.cookie):
		s.count(Same)
	default:
		s.count(Changed)
		c.cookie = slices.Clone(cookie)
	}
	s.giveBack(slot)
}

// compare records whether another source had the same cookie.
func (s *Sample) compare(c *client, cookie []byte) {
	if len(s.seen) == maxSeen {
		return
	}
	s.count(Compared)
	before, there := s.seen[string(cookie)]
	switch {
	case !there:
		s.seen[string(cookie)] = c.conn.Local()
	case before != c.conn.Local():
		s.count(Shared)
	}
}

// giveBack returns the cookie, if this client does so.
func (s *Sample) giveBack(slot int) {
	c := s.clients[slot]
	d, err := second(c.hello, c.cookie, 1)
	if err != nil || !c.returns { // New has checked that it works
		s.end(slot, false)
		return
	}
	c.ask(d, returned)
}

// serverReacted handles the server's reaction to a cookie. If the server asks for a second cookie exchange, the client does one,
// as real clients do: the server of a guard may want its own.
func (s *Sample) serverReacted(slot int, d []byte) {
	c := s.clients[slot]
	switch {
	case answer.IsHandshake(d):
		s.count(Accepted)
		if c.stage == twice {
			s.count(AskedTwice)
		}
		s.end(slot, true)
		return
	case answer.IsAlert(d):
	default:
		cookie, _ := answer.Check(d, c.asks)
		if cookie == nil {
			return // not DTLS, or unknown: the client may time out
		}
		if next, err := second(c.hello, cookie, 2); c.stage == returned && err == nil {
			c.ask(next, twice)
			return
		}
	}
	s.count(Refused)
	s.end(slot, false)
}
