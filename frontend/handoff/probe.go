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
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Times of probing.
const (
	// brief is the patience with a server that has answered before, where silence is an answer, too: three attempts.
	brief = 500 * time.Millisecond
	// patient is the same where a wrong conclusion from it would do harm.
	patient = 1500 * time.Millisecond
	// aging is how long a cookie must be kept to see whether it depends on the time: the clocks in cookies count
	// seconds.
	aging = 1100 * time.Millisecond
)

// probing is the questions that are put to a server, each from addresses that have not asked before where that
// matters. Their traces at the server are handshakes that are aborted at once: one where cookies are taken that
// are not the server's, or end with time, and one for a server that begins without a cookie.
type probing struct {
	*prober
	ctx     context.Context
	profile Profile
	conns   []*udpbatch.Conn
	first   *udpbatch.Conn // who asked first, the question, the cookie, and when
	asked   []byte
	cookie  []byte
	when    time.Time
	spoke12 bool // the server answered the first question, of DTLS 1.2, with more than an alert
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
		c.Close()
	}
}

// begin asks for a cookie.
func (q *probing) begin(patience time.Duration) error {
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	q.first, q.asked, q.when = c, q.question(hello.Probe{}), time.Now()
	a, err := q.insist(q.ctx, c, patience, q.asked)
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
	differs := func(c *udpbatch.Conn, question []byte) (bool, error) {
		a, err := q.again(c, question)
		q.release(c)
		return a.cookie != nil && !a.is(q.cookie), err
	}
	var err error
	if t.PerHello, err = differs(q.first, q.question(hello.Probe{})); err != nil {
		return err
	}
	if !t.PerHello {
		if t.PerHello, err = differs(q.first, q.question(hello.Probe{Version: hello.DTLS10})); err != nil {
			return err
		}
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	if t.PerPort, err = differs(c, q.asked); err != nil || !loopback4(q.server.Addr()) {
		return err
	}
	local := q.first.Local()
	if c, err = q.from(netip.AddrPortFrom(secondLoopback, local.Port())); err != nil {
		return nil // the port is another's there: then this stays unknown
	}
	address, err := differs(c, q.asked)
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

// secondLoopback is another address of this host than the one that sockets towards 127.0.0.0/8 get.
var secondLoopback = netip.AddrFrom4([4]byte{127, 0, 0, 2})

// poolAddress is one of those that a pool has entries with.
var poolAddress = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, firstNetwork, 0, 1}), 0)

func loopback4(a netip.Addr) bool { return a.Unmap().Is4() && a.IsLoopback() }

// age asks again when the clock has moved on, and whether the old cookie still passes.
func (q *probing) age() error {
	t := &q.profile
	if t.mode() != Harvest || t.Pending {
		return nil // it matters only where a harvested cookie may get old
	}
	select {
	case <-q.ctx.Done():
		return q.ctx.Err()
	case <-time.After(time.Until(q.when.Add(aging))):
	}
	a, err := q.again(q.first, q.asked)
	if t.TimeDependent = a.cookie != nil && !a.is(q.cookie); !t.TimeDependent || err != nil {
		q.release(q.first)
		return err
	}
	a, err = q.again(q.first, q.question(hello.Probe{Cookie: q.cookie, MessageSeq: 1, RecordSeq: 1}))
	if t.OldTaken = q.greeted(&a); t.OldTaken {
		q.abort(q.first)
	}
	q.release(q.first)
	return err
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
	if !t.AsksCookie {
		return nil
	}
	a, err := q.fresh(q.question(foreign))
	if t.Trusts = q.greeted(&a); t.Trusts || err != nil || t.Stateless {
		return err
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	if a, err = q.again(c, q.question(hello.Probe{})); err == nil && a.cookie != nil {
		a, err = q.again(c, q.question(foreign))
		t.Replays = q.greeted(&a)
		q.abort(c)
	}
	return err
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
	if a, err = q.again(c, h.Append(nil)); q.greeted(&a) {
		q.abort(c)
		t.SecondVerify = a.sequence.Message == 2 || a.version == 0
	}
	return err
}

// from opens a socket to the server.
func (q *probing) from(local netip.AddrPort) (*udpbatch.Conn, error) {
	c, err := udpbatch.DialFrom(local, q.server)
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

// again asks a server that has answered before; silence is the empty reply.
func (q *probing) again(c *udpbatch.Conn, question ...[]byte) (reply, error) {
	a, err := q.insist(q.ctx, c, brief, question...)
	if errors.Is(err, ErrNoAnswer) {
		err = nil
	}
	return a, err
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
func (q *probing) release(c *udpbatch.Conn) {
	if q.profile.AsksCookie && !q.profile.Stateless {
		q.abort(c)
	}
}
