package handoff

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Times of probing.
const (
	// brief is the patience with a server that has answered before, where silence is an answer, too.
	brief = 500 * time.Millisecond
	// patient is the same where a wrong conclusion from it would do harm.
	patient = 1500 * time.Millisecond
	// greeting is the patience with a server that may have begun a handshake whose first datagram was lost: it says it again
	// after 1 s and 2 s (RFC 6347 section 4.2.4.1).
	greeting = 3500 * time.Millisecond
	// repeats is how often questions are asked again whose answers contradict each other.
	repeats = 8
	// replays is how often a server that keeps who asks is shown a cookie after its own question, where it says nothing to it.
	replays = 3
	// shownWait is how long a server may take to begin a handshake, from each of several addresses.
	shownWait = 200 * time.Millisecond
	// aging is how long a cookie must be kept to see whether it depends on the time: the clocks in cookies count
	// seconds.
	aging = 1100 * time.Millisecond
)

// beginnings is how often the server is asked at first, from each of several addresses: one that keeps who asks says nothing
// again to whom its first answer was lost.
var beginnings = [...]int{3, 3, 5}

// probing is the questions that are put to a server, each from addresses that have not asked before where that
// matters. Their traces at the server are handshakes that are aborted at once: one where cookies are taken that
// are not the server's, or end with time, and one for a server that begins without a cookie.
type probing struct {
	*prober
	ctx      context.Context
	profile  Profile
	conns    []line
	first    line // who asked first, the question, the cookie, and when
	asked    []byte
	cookie   []byte
	when     time.Time
	keeps    bool // the server keeps who asks, or may
	farewell byte // alert that the server ends a handshake with whose cookie is its own; 0: it goes on, or that is not known
	spoke12  bool // the server answered the first question, of DTLS 1.2, with more than an alert
}

// probe finds out the server's profile. What shows only with time comes as late as may be.
func (p *prober) probe(ctx context.Context, patience time.Duration) (Profile, error) {
	q := &probing{prober: p, ctx: ctx}
	defer q.closeConns()
	err := q.begin(patience)
	for _, step := range []func() error{q.state, q.later, q.binding, q.connections, q.hold, q.shapes, q.foreign, q.own, q.retries, q.age, q.second} {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return q.profile, err
		}
		err = step()
	}
	return q.profile, err
}

// closeConns gives the sockets back.
func (q *probing) closeConns() {
	for _, c := range q.conns {
		delete(q.owed, c)
		_ = c.Close()
	}
}

// begin asks for a cookie.
func (q *probing) begin(patience time.Duration) error {
	q.asked = q.question(hello.Probe{})
	a, err := reply{}, error(nil)
	for _, least := range beginnings {
		if q.first, err = q.from(netip.AddrPort{}); err != nil {
			return err
		}
		a, err = q.insistOn(q.ctx, q.first, least, patience/time.Duration(len(beginnings)), q.asked)
		if !errors.Is(err, ErrNoAnswer) {
			break
		}
		q.abort(q.first)
	}
	c := q.first
	q.when = time.Now()
	if errors.Is(err, ErrNoAnswer) && !errors.Is(err, errRefused) {
		if err13 := q.later(); err13 != nil || !q.profile.DTLS13 { // a server of DTLS 1.3 alone may say nothing to others
			return err
		}
		a, err = reply{}, nil
	}
	if err != nil {
		return err
	}
	q.spoke12 = a.cookie != nil || a.hello
	q.cookie = a.cookie
	q.profile.AsksCookie, q.profile.CookieLength, q.profile.Seq = a.cookie != nil, len(a.cookie), int(a.sequence.Message)
	q.profile.Native = recognise(q.ring, q.server, c.Local(), q.asked, a.cookie)
	if q.greeted(&a) {
		q.abort(c)
	}
	return nil
}

// later asks for DTLS 1.3.
func (q *probing) later() error {
	a, err := q.fresh(q.question(hello.Probe{Offer13: true}))
	q.profile.DTLS13 = a.hello && a.version == hello.DTLS13
	q.profile.Only13 = q.profile.DTLS13 && !q.spoke12
	return err
}

// binding asks with another random, with another version, and from another port and address.
func (q *probing) binding() error {
	t := &q.profile
	if !t.AsksCookie || !t.Stateless && !t.DropsOnAlert {
		return nil
	}
	var err error
	if t.PerHello, err = q.differs(q.first, q.question(hello.Probe{})); err != nil {
		return err
	}
	if !t.PerHello {
		if t.PerHello, err = q.differs(q.first, q.question(hello.Probe{Version: hello.DTLS10})); err != nil {
			return err
		}
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	if t.PerPort, err = q.differs(c, q.asked); err != nil || !loopback4(q.server.Addr()) {
		return err
	}
	local := q.first.Local()
	if c, err = q.from(netip.AddrPortFrom(secondLoopback, local.Port())); err != nil {
		return nil // the port is another's there: then this stays unknown
	}
	address, err := q.differs(c, q.asked)
	if t.PerAddress = &address; err != nil {
		return err
	}
	if c, err = q.from(poolAddress); err != nil {
		return nil
	}
	a, err := q.again(c, q.asked)
	q.release(c)
	t.OtherAddresses = a.cookie != nil
	return err
}

// differs reports whether a question from c has another cookie than the first question has. It is between two answers to the
// first question that have the same cookie, or a clock in the cookies, or a restart, would look like a difference.
func (q *probing) differs(c line, question []byte) (bool, error) {
	for range repeats {
		a, err := q.again(c, question)
		q.release(c)
		if err != nil || a.cookie == nil || a.is(q.cookie) {
			return false, err
		}
		first, err := q.again(q.first, q.asked)
		when := time.Now()
		q.release(q.first)
		if err != nil || first.cookie == nil || first.is(q.cookie) {
			return true, err
		}
		if q.cookie, q.when = first.cookie, when; a.is(q.cookie) {
			return false, nil
		}
	}
	return true, nil
}

// secondLoopback is another address of this host than the one that sockets towards 127.0.0.0/8 get.
var secondLoopback = netip.AddrFrom4([4]byte{127, 0, 0, 2})

// poolAddress is one of those that a pool has entries with.
var poolAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, firstNetwork, 0, 1}), 0)

func loopback4(a netip.Addr) bool { return a.Unmap().Is4() && a.IsLoopback() }

// age asks again when the clock has moved on, and whether the old cookie still passes. Another cookie can also be that of a
// restarted server, which does not take the old one: then it has the same when it is asked once more.
func (q *probing) age() error {
	t := &q.profile
	if t.mode() != Harvest || t.Pending {
		return nil // it matters only where a harvested cookie may get old
	}
	defer q.release(q.first)
	for range 2 {
		sleep(q.ctx, time.Until(q.when.Add(aging)))
		a, err := q.again(q.first, q.asked)
		when := time.Now()
		if t.TimeDependent = a.cookie != nil && !a.is(q.cookie); !t.TimeDependent || err != nil {
			return err
		}
		q.release(q.first)
		if t.OldTaken, err = q.accepts(q.first, hello.Probe{Cookie: q.cookie, MessageSeq: 1, RecordSeq: 1}); t.OldTaken || err != nil {
			return err
		}
		q.cookie, q.when = a.cookie, when
	}
	return nil
}

// accepts shows the server a cookie, and reports whether it takes it: by a ServerHello, or by the alert that it ends a
// handshake with whose cookie is its own, because it has nothing in common with what the guard offers. The handshake is aborted.
func (q *probing) accepts(c line, h hello.Probe) (bool, error) {
	a, err := q.shown(c, h)
	if err != nil {
		return false, err
	}
	return q.takes(&a)
}

// takes reports whether a is what the server says to a cookie that it takes.
func (q *probing) takes(a *reply) (bool, error) {
	if a.hello || a.alert == 0 {
		return a.hello, nil
	}
	if q.farewell == 0 {
		if err := q.farewells(); err != nil {
			return false, err
		}
	}
	return a.alert == q.farewell, nil
}

// shown is what the server says to a cookie that it is shown; a handshake that it begins is aborted.
func (q *probing) shown(c line, h hello.Probe) (reply, error) {
	q.drain(q.ctx, c)
	if h.Random == ([32]byte{}) {
		_, _ = rand.Read(h.Random[:])
	}
	again := 0
	if q.profile.Stateless {
		again = 2
	}
	for began := time.Now(); ; h.RecordSeq++ { // each time another record, or it is dropped as replayed
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
			// Who keeps nothing says something to any cookie, but in a handshake: then all of its flight was lost.
			q.abort(c)
			q.abort(c)
			began, again = time.Now(), again-1
		case time.Since(began) >= greeting:
			return reply{}, nil
		}
	}
}

// farewells finds out by what alert the server ends a handshake whose cookie is its own; none, if it goes on with it.
func (q *probing) farewells() error {
	t := &q.profile
	if !t.AsksCookie || !t.Stateless {
		return nil // those that keep who asks may say the same to a wrong cookie
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	for range repeats {
		var h hello.Probe
		_, _ = rand.Read(h.Random[:])
		a, err := q.again(c, h.Append(nil))
		if err != nil || len(a.cookie) == 0 {
			return err
		}
		h.Cookie, h.MessageSeq, h.RecordSeq = a.cookie, 1, 1
		if a, err = q.shown(c, h); err != nil {
			return err
		}
		if q.farewell = a.alert; a.cookie == nil { // a cookie is what it says to one that has died meanwhile
			return nil
		}
	}
	return nil
}

// shapes asks in other versions and in fragments.
func (q *probing) shapes() error {
	t := &q.profile
	if !t.AsksCookie {
		return nil
	}
	for _, v := range []uint16{hello.DTLS10, hello.DTLS12} {
		a, err := q.fresh(q.question(hello.Probe{Version: v}))
		if err != nil {
			return err
		}
		if a.cookie != nil {
			t.Versions = append(t.Versions, versionName(v))
		}
	}
	// A server that keeps nothing answers the first fragment or none, and gnutls-serv takes the second for a client.
	const cut = 60 // behind the cookie of a first ClientHello, in its suites or extensions
	f := hello.Fragments(q.question(hello.Probe{}), cut)
	question := f[:1]
	if !t.Stateless {
		question = f[:]
	}
	a, err := q.fresh(question...)
	t.Fragments = a.cookie != nil
	return err
}

// greeted reports whether a is a ServerHello, to a ClientHello of DTLS 1.2, and notes the version that the server has chosen.
func (q *probing) greeted(a *reply) bool {
	if a.hello && a.version != 0 {
		q.profile.Negotiates = versionName(a.version)
	}
	return a.hello
}

func versionName(v uint16) string {
	if v == hello.DTLS10 {
		return "DTLS 1.0"
	}
	return "DTLS 1.2"
}

// foreign shows a cookie that the server never gave, at first sight and after its own question.
func (q *probing) foreign() error {
	t := &q.profile
	foreign := hello.Probe{Cookie: bytes.Repeat([]byte{0x5a}, max(1, min(len(q.cookie), hello.MaxCookie))), MessageSeq: 1, RecordSeq: 1}
	if !t.AsksCookie || t.DTLS13 { // where DTLS 1.3 may be negotiated no foreign cookie is right, whatever the server says to one
		return nil
	}
	if t.Stateless {
		a, err := q.unfamiliar(&foreign)
		if err == nil {
			t.Trusts, err = q.takes(&a)
		}
		return err
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	if t.Trusts, err = q.accepts(c, foreign); t.Trusts || err != nil {
		return err
	}
	for range replays {
		if c, err = q.from(netip.AddrPort{}); err != nil {
			return err
		}
		a, err := q.again(c, q.question(hello.Probe{}))
		if err != nil || a.cookie == nil {
			return err
		}
		a, err = q.shown(c, foreign)
		q.abort(c)
		if err == nil {
			t.Replays, err = q.takes(&a)
		}
		if err != nil || a.said() {
			return err
		}
	}
	return nil
}

// unfamiliar shows a cookie that the server never gave to one that keeps nothing, and returns what it says. Most say their own
// cookie to a wrong one. If this one says nothing so often that loss does not explain it, it drops wrong cookies, or has begun a
// handshake whose flight was lost: it says that again after a second at the earliest, and from another address at once. Only then
// is it sent an alert, for gnutls-serv takes whatever is not a ClientHello for a client.
func (q *probing) unfamiliar(foreign *hello.Probe) (reply, error) {
	var silent []line
	for asks := leastAttempts; len(silent) < leastAttempts; asks = 1 {
		c, err := q.from(netip.AddrPort{})
		if err != nil {
			return reply{}, err
		}
		h := *foreign
		_, _ = rand.Read(h.Random[:])
		for range asks {
			a, err := q.ask(q.ctx, c, max(shownWait, 2*q.rtt), h.Append(nil))
			if a.said() {
				if q.greeted(&a) {
					q.abort(c)
				}
				return a, nil
			}
			if !errors.Is(err, ErrNoAnswer) && err != nil {
				return a, err
			}
			h.RecordSeq++ // or the next one is dropped as replayed
		}
		q.abort(c)
		silent = append(silent, c)
	}
	for _, c := range silent { // of a slow server
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

// second plays what double-hvr does, if nothing else fits.
func (q *probing) second() error {
	t := &q.profile
	if !t.Stateless || t.Trusts || t.unharvestable() == "" {
		return nil
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	h := hello.Probe{Cookie: bytes.Repeat([]byte{0x5a}, cookie.Size), MessageSeq: 1, RecordSeq: 1}
	_, _ = rand.Read(h.Random[:])
	a, err := q.again(c, h.Append(nil))
	if err != nil || len(a.cookie) == 0 {
		return err
	}
	h.Cookie, h.MessageSeq, h.RecordSeq = a.cookie, 2, 2
	a, err = q.shown(c, h)
	if err == nil && (!a.hello || a.sequence.Message == 2 || a.version == 0) {
		t.SecondVerify, err = q.takes(&a)
	}
	return err
}

// from opens a socket to the server.
func (q *probing) from(local netip.AddrPort) (line, error) {
	c, err := q.dial(local)
	if err == nil {
		q.conns = append(q.conns, c)
	}
	return c, err
}

// question makes h a datagram, with a random of its own: any bytes will do, crypto/rand never fails, and this is no
// secret.
func (q *probing) question(h hello.Probe) []byte {
	_, _ = rand.Read(h.Random[:])
	return h.Append(nil)
}

// again asks a server that has answered before; silence is the empty reply. One that keeps who asks is told to forget before
// it is asked again, for it may have answered.
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

// silent makes silence no error.
func silent(err error) error {
	if errors.Is(err, ErrNoAnswer) {
		return nil
	}
	return err
}

// fresh asks from an address that has not asked before, and leaves nothing there.
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

// release has a server that remembers clients forget c.
func (q *probing) release(c line) {
	if q.profile.AsksCookie && !q.profile.Stateless {
		q.abort(c)
	}
}
