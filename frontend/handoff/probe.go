package handoff

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// beginnings is how often the server is asked at first, from each of several addresses: a server that keeps state does
// not repeat a lost answer.
var beginnings = [...]int{3, 3, 5}

// probing is the series of questions to a server, each from addresses that have not asked before where that matters. It
// leaves handshakes at the server that are aborted at once: one for a server that accepts foreign or aged cookies, and
// one for a server that starts without a cookie.
type probing struct {
	*prober
	ctx      context.Context
	profile  Profile
	conns    []line
	first    line // the first to ask, its question, its cookie, and when
	asked    []byte
	cookie   []byte
	when     time.Time
	keeps    bool // the server keeps state per address, or may
	farewell byte // the alert with which the server ends a handshake with a valid cookie; 0: it continues, or that is unknown
	spoke12  bool // the server answered the first question, of DTLS 1.2, with more than an alert
}

// probe finds out the server's profile. What only time shows comes last.
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

// closeConns closes the sockets.
func (q *probing) closeConns() {
	for _, c := range q.conns {
		q.hangUp(c)
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
		if err == nil && !a.said() { // unless that was something left over, or out of order
			err = errNotDTLS
			continue
		}
		if !errors.Is(err, ErrNoAnswer) {
			break
		}
		q.abort(q.first)
	}
	c := q.first
	q.when = time.Now()
	if errors.Is(err, ErrNoAnswer) && !errors.Is(err, errRefused) {
		if err13 := q.later(); err13 != nil || !q.profile.DTLS13 { // a server of DTLS 1.3 alone may ignore DTLS 1.2
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

// later asks with DTLS 1.3.
func (q *probing) later() error {
	a, err := q.fresh(q.question(hello.Probe{Offer13: true}))
	q.profile.DTLS13 = a.hello && a.version == hello.DTLS13
	q.profile.Only13 = q.profile.DTLS13 && !q.spoke12
	return err
}

// binding asks with another random, another version, and from another port and address.
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
		return nil // the port is in use there: this remains unknown
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

// differs reports whether a question from c gets another cookie than the first question. It asks between two answers to
// the first question with the same cookie: otherwise a clock in the cookies, or a restart, would look like a difference.
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

// secondLoopback is an address of this host other than the one that sockets towards 127.0.0.0/8 get.
var secondLoopback = netip.AddrFrom4([4]byte{127, 0, 0, 2})

// poolAddress is one of the addresses of a pool's entries.
var poolAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, firstNetwork, 0, 1}), 0)

func loopback4(a netip.Addr) bool { return a.Unmap().Is4() && a.IsLoopback() }

// age asks again when the clock has advanced, and checks whether the old cookie still passes. A different cookie may also
// mean a restarted server, which refuses the old one: it then repeats the new one when asked again.
func (q *probing) age() error {
	t := &q.profile
	if t.mode() != Harvest || t.Pending {
		return nil // it only matters where a harvested cookie may age
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
	// A server without state answers the first fragment or none, and gnutls-serv takes the second one for a client.
	const cut = 60 // after the cookie of a first ClientHello, within its suites or extensions
	f := hello.Fragments(q.question(hello.Probe{}), cut)
	question := f[:1]
	if !t.Stateless {
		question = f[:]
	}
	a, err := q.fresh(question...)
	t.Fragments = a.cookie != nil
	return err
}

// greeted reports whether a is a ServerHello to a ClientHello of DTLS 1.2, and records the version that the server has
// chosen.
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
