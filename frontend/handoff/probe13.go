package handoff

import (
	"context"
	"crypto/rand"
	"net/netip"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// What a server may have of DTLS 1.3: suites (RFC 8446 appendix B.4), and groups: post-quantum ones, curves, finite
// fields.
var (
	suites13 = []uint16{0x1301, 0x1302, 0x1303, 0x1304, 0x1305}
	groups13 = []uint16{0x11ec, 0x11ed, 0x11eb, 0x1d, 0x17, 0x18, 0x19, 0x1e, 0x100, 0x101, 0x102, 0x103, 0x104}
)

// retryWait is the timeout of one of many questions, each asked twice.
const retryWait = 200 * time.Millisecond

// retries finds out how a server of DTLS 1.3 answers first ClientHellos, if its cookies are wolfSSL's with a secret
// shared with the guard.
func (q *probing) retries() error {
	p := &q.profile
	if q.ring == nil || !p.DTLS13 {
		return nil
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	session := make([]byte, 32)
	first := hello.Probe13{Session: session, Suites: suites13, Groups: groups13}
	r, asked, err := q.retry(c, &first)
	if err != nil || len(r.Cookie) == 0 {
		return err
	}
	n := recognise13(q.ring, c.Local(), asked, &r)
	if n == nil || !p.Only13 && (p.Native == nil || p.Native.Mode != NativeWolfSSL || p.Native.Secret != n.Secret) {
		return nil
	}
	known := Retries{Echo: r.Echo}
	if known.Suites, known.Client, err = q.suites(c); err == nil {
		known.Groups, err = q.groups(c)
	}
	if err == nil && len(known.Suites) > 0 && len(known.Groups) > 0 {
		p.Native, p.Retries = n, &known
	}
	return err
}

// retry asks one question and returns the HelloRetryRequest, without a cookie if the answer was none. asked is nil if there was no
// answer.
func (q *probing) retry(c line, p *hello.Probe13) (r hello.Retry, asked []byte, err error) {
	_, _ = rand.Read(p.Random[:])
	asked = p.Append(nil)
	for range 2 {
		var d []byte
		if d, err = q.exchange(q.ctx, c, max(retryWait, 2*q.rtt), asked); err == nil {
			r, _ = hello.ReadRetry(d)
			r.Cookie = slices.Clone(r.Cookie)
			return r, asked, nil
		}
	}
	return hello.Retry{}, nil, silent(err)
}

// asBefore reports whether the server answers a first ClientHello as known has it, with a cookie that ring explains. If it does
// not answer, nothing speaks against it.
func (p *prober) asBefore(ctx context.Context, c line, ring *cookie.Keyring, known *Retries) bool {
	q := probing{prober: p, ctx: ctx}
	first := hello.Probe13{Session: make([]byte, 32), Suites: suites13, Groups: groups13}
	r, asked, err := q.retry(c, &first)
	if err != nil || asked == nil {
		return true
	}
	suite := slices.IndexFunc(suites13, func(s uint16) bool { return slices.Contains(known.Suites, s) })
	if !known.Client {
		suite = slices.Index(suites13, known.Suites[0])
	}
	return len(r.Cookie) > 0 && r.Suite == suites13[suite] && r.Group == known.Groups[0] && r.Echo == known.Echo &&
		recognise13(ring, c.Local(), asked, &r) != nil
}

// MintsRight reports whether a server makes the HelloRetryRequests that the guard makes in its place, as far as it answers.
func MintsRight(ctx context.Context, server netip.AddrPort, ring *cookie.Keyring, known *Retries) bool {
	p, err := newProber(server)
	if err != nil {
		return true
	}
	defer p.close()
	c, err := p.dial(netip.AddrPort{})
	if err != nil {
		return true
	}
	defer c.Close()
	return p.asBefore(ctx, c, ring, known)
}

// suites finds the suites that the server accepts, in its order of preference, and whether the client's order decides.
func (q *probing) suites(c line) (taken []uint16, client bool, err error) {
	chosen := func(offer ...uint16) (s uint16) {
		if err == nil {
			var r hello.Retry
			if r, _, err = q.retry(c, &hello.Probe13{Suites: offer, Groups: groups13}); len(r.Cookie) > 0 {
				s = r.Suite
			}
		}
		return s
	}
	for _, s := range suites13 {
		if chosen(s) == s {
			taken = append(taken, s)
		}
	}
	for i := range taken { // move each one before those that the server likes less
		for j := i; j > 0; j-- {
			a, b := taken[j-1], taken[j]
			one, other := chosen(a, b), chosen(b, a)
			client = client || one == a && other == b
			if one != b || other != b {
				break
			}
			taken[j-1], taken[j] = b, a
		}
	}
	return taken, client, err
}

// groups finds the groups that the server accepts, in its order. A server that accepts a share's group does not ask for another
// one. No question is without a group that it has: wolfSSL 5.5.4 crashes over such a ClientHello.
func (q *probing) groups(c line) (order []uint16, err error) {
	var left []uint16
	for _, g := range groups13 {
		r, _, err := q.retry(c, &hello.Probe13{Suites: suites13, Groups: groups13, Share: g})
		if err != nil {
			return nil, err
		}
		if len(r.Cookie) > 0 && r.Group == 0 {
			left = append(left, g)
		}
	}
	for len(left) > 0 {
		r, _, err := q.retry(c, &hello.Probe13{Suites: suites13, Groups: left})
		i := slices.Index(left, r.Group)
		if err != nil || i < 0 {
			return nil, err
		}
		order, left = append(order, r.Group), slices.Delete(left, i, i+1)
	}
	return order, nil
}

// recognise13 finds the secret, and the form of asker's address, that explain the cookie of a HelloRetryRequest.
func recognise13(ring *cookie.Keyring, asker netip.AddrPort, asked []byte, r *hello.Retry) *Recognised {
	var h Hello
	if hello.Parse(asked, &h.ClientHello) != hello.OK {
		return nil
	}
	h.Action, h.Retry = ActionRetry, *r
	f := newWolfSSL13(nil, nil, Serves13)
	forms := []bool{false}
	if asker.Addr().Is4() {
		forms = append(forms, true)
	}
	for _, mapped := range forms {
		for _, k := range []*cookie.Key{ring.Current(), ring.Previous()} {
			if k == nil {
				continue
			}
			list := []question{{Hello: &h, seen: udpbatch.Endpoint{IP: asker.Addr().As16(), Port: asker.Port()}, mapped: mapped}}
			f.compute(k, list)
			if NativeWolfSSL.same(list[0].cookie[:list[0].length], r.Cookie) {
				return &Recognised{NativeWolfSSL, mapped, k.Fingerprint(), k == ring.Previous()}
			}
		}
	}
	return nil
}
