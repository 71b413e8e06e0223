package handoff

import (
	"bytes"
	"crypto/rand"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// foreign presents a cookie that the server never issued, as the first datagram and after a question.
func (q *probing) foreign() error {
	t := &q.profile
	foreign := hello.Probe{Cookie: bytes.Repeat([]byte{0x5a}, max(1, min(len(q.cookie), hello.MaxCookie))), MessageSeq: 1, RecordSeq: 1}
	if !t.AsksCookie || t.DTLS13 { // where DTLS 1.3 may be negotiated no foreign cookie is right, whatever the server answers
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
	return q.replays(&foreign)
}

// replays finds out whether a server that keeps state accepts a foreign cookie after its own question. Loss does not explain
// silence to several addresses.
func (q *probing) replays(foreign *hello.Probe) error {
	var silent []line
	for len(silent) < replayAttempts {
		c, err := q.from(netip.AddrPort{})
		if err != nil {
			return err
		}
		a, err := q.again(c, q.question(hello.Probe{}))
		if err != nil || a.cookie == nil {
			return err
		}
		a, err = q.told(c, *foreign, 2)
		q.abort(c)
		if err == nil && a.said() {
			q.profile.Replays, err = q.takes(&a)
		}
		if err != nil || a.said() {
			return err
		}
		silent = append(silent, c)
	}
	a, err := q.late(silent)
	if err == nil {
		q.profile.Replays, err = q.takes(&a)
	}
	return err
}

// unfamiliar presents a foreign cookie to a server without state, and returns its answer. Most servers answer a wrong
// cookie with their own. If this one is silent so often that loss does not explain it, it drops wrong cookies, or has
// started a handshake whose flight was lost: it retransmits after a second at the earliest, and answers another address
// at once. Only then is it sent an alert, because gnutls-serv takes anything but a ClientHello for a client.
func (q *probing) unfamiliar(foreign *hello.Probe) (reply, error) {
	var silent []line
	for asks := leastAttempts; len(silent) < leastAttempts; asks = 1 {
		c, err := q.from(netip.AddrPort{})
		if err != nil {
			return reply{}, err
		}
		if a, err := q.told(c, *foreign, asks); err != nil || a.said() {
			return a, err
		}
		q.abort(c)
		silent = append(silent, c)
	}
	return q.late(silent)
}

// accepts presents a cookie to the server, and reports whether it accepts it: by a ServerHello, or by the alert with
// which it ends a handshake with a valid cookie because it has nothing in common with what the guard offers. The
// handshake is aborted.
func (q *probing) accepts(c line, h hello.Probe) (bool, error) {
	a, err := q.shown(c, h)
	if err != nil {
		return false, err
	}
	return q.takes(&a)
}

// takes reports whether a is the server's answer to a cookie that it accepts.
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

// farewells finds the alert with which the server ends a handshake with a valid cookie; none if it continues.
func (q *probing) farewells() error {
	t := &q.profile
	if !t.AsksCookie || !t.Stateless {
		return nil // servers that keep state may send the same after a wrong cookie
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
		if q.farewell = a.alert; a.cookie == nil { // a cookie is the answer to a client that the server has forgotten meanwhile
			return nil
		}
	}
	return nil
}

// second tries the exchange of double-hvr, if nothing else fits.
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
