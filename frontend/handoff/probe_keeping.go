package handoff

import (
	"net/netip"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Questions that show whether a server keeps state per client, and how its cookies depend on that.

// state repeats the question. It comes first: alerts are only for servers that keep state, and gnutls-serv, which does
// not, takes anything but a ClientHello for a client and ignores all others until that one has timed out.
func (q *probing) state() error {
	t := &q.profile
	if !t.AsksCookie {
		return nil
	}
	a, err := q.insist(q.ctx, q.first, patient, q.asked)
	err = silent(err)
	if t.Stateless = a.cookie != nil; !t.Stateless && err == nil {
		q.keeps = true
		q.abort(q.first)
		a, err = q.again(q.first, q.asked)
		t.DropsOnAlert = a.cookie != nil
	}
	for range repeats { // the clock may have ticked in between
		if t.Deterministic = a.is(q.cookie); t.Deterministic || err != nil {
			break
		}
		q.cookie, q.when = a.cookie, time.Now()
		q.release(q.first)
		a, err = q.again(q.first, q.asked)
	}
	q.release(q.first)
	return err
}

// connections asks a server that keeps state from several ports at once, makes it forget them, and asks again in another
// order: coturn 4.6 derives cookies from where in memory it keeps the client.
func (q *probing) connections() error {
	t := &q.profile
	if !t.AsksCookie || t.Stateless || !t.DropsOnAlert {
		return nil
	}
	var conns []line
	var cookies [][]byte
	const several = 8
	for range several {
		c, err := q.from(netip.AddrPort{})
		if err != nil {
			return err
		}
		a, err := q.again(c, q.asked)
		if err != nil {
			return err
		}
		if conns, cookies = append(conns, c), append(cookies, a.cookie); a.cookie == nil {
			break // it keeps one client at a time
		}
	}
	for _, c := range conns {
		q.release(c)
	}
	for i := len(conns) - 1; i >= 0; i-- {
		a, err := q.again(conns[i], q.asked)
		if err != nil {
			return err
		}
		if a.cookie == nil {
			break
		}
		t.PerConnection = t.PerConnection || cookies[i] != nil && !a.is(cookies[i])
	}
	for _, c := range conns {
		q.release(c)
	}
	return nil
}

// hold presents the server's cookie in another ClientHello, before the server has forgotten who asked.
func (q *probing) hold() error {
	t := &q.profile
	if !t.PerConnection {
		return nil
	}
	c, err := q.from(netip.AddrPort{})
	if err != nil {
		return err
	}
	a, err := q.again(c, q.asked)
	if err != nil || len(a.cookie) == 0 {
		return err
	}
	a, err = q.again(c, q.question(hello.Probe{Cookie: a.cookie, MessageSeq: 1, RecordSeq: 1}))
	t.Pending = q.greeted(&a)
	q.abort(c)
	return err
}
