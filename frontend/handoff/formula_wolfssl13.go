package handoff

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Retries is how a wolfSSL server answers first ClientHellos of DTLS 1.3.
type Retries struct {
	Suites []uint16 `json:"suites"`       // that it takes, the one before another that it prefers to it
	Client bool     `json:"client_order"` // the client's order decides among them
	Groups []uint16 `json:"groups"`       // that it takes, in its order
	Echo   bool     `json:"echo"`         // it repeats the client's session id
}

// suite is the one that the server chooses from a client's, 0 if there is none.
func (r *Retries) suite(offered []byte) uint16 {
	if r.Client {
		for i := 0; i+2 <= len(offered); i += 2 {
			if s := binary.BigEndian.Uint16(offered[i:]); slices.Contains(r.Suites, s) {
				return s
			}
		}
		return 0
	}
	for _, s := range r.Suites {
		if hello.Lists(offered, s) {
			return s
		}
	}
	return 0
}

// group is the one that the server asks the client to send a share of: 0 if the client sent a share that it accepts. Not
// ok: they have no group in common.
func (r *Retries) group(x *hello.Extensions) (group uint16, ok bool) {
	for shares := x.Shares; ; {
		g, rest, more := hello.NextShare(shares)
		if !more {
			break
		}
		if slices.Contains(r.Groups, g) {
			return 0, true
		}
		shares = rest
	}
	for _, g := range r.Groups {
		if hello.Lists(x.Groups, g) {
			return g, true
		}
	}
	return 0, false
}

// wolfSSL13 is the formula of wolfSSL servers that speak DTLS 1.3 (wolfSSL_send_hrr_cookie), checked against wolfSSL
// 5.9.2: the cookie of a HelloRetryRequest is
//
//	length of H (1) | H of the ClientHello with a TLS header | suite (2) | [group (2)] | HMAC-SHA256(all before | sockaddr)
//
// with the hash of the suite. Other ClientHellos are answered as in DTLS 1.2. There is no clock: a cookie lives as long
// as its secret.
type wolfSSL13 struct {
	*macFormula
	answers *Retries
	psk     *PSKSuites
	serves  Versions
	x       hello.Extensions
	sha256  hash.Hash
	sha384  hash.Hash
}

func newWolfSSL13(answers *Retries, psk *PSKSuites, serves Versions) *wolfSSL13 {
	return &wolfSSL13{macFormula: newWolfSSL().(*macFormula), answers: answers, psk: psk, serves: serves, sha256: sha256.New(), sha384: sha512.New384()}
}

// classify decides whether h is of DTLS 1.3, and how it is answered.
func (f *wolfSSL13) classify(h *Hello) {
	x := &f.x
	ok := h.ReadExtensions(x)
	if !ok || !x.Offers13() {
		if f.serves&Serves12 == 0 { // a fragment without supported_versions, or another version
			h.Action = ActionNoRetry
		}
		return
	}
	h.Action = ActionNoRetry
	if len(h.Cookie) > 0 || x.BadShares || !bytes.Equal(x.Methods, nullCompression) {
		return
	}
	suite := f.suite()
	if suite == 0 {
		return
	}
	if len(x.Cookie) > 0 {
		h.Cookie, h.Retry, h.Action = x.Cookie, hello.Retry{Suite: suite}, ActionRetry
		return
	}
	if group, ok := f.answers.group(x); ok && h.Whole { // the hash needs the complete message
		h.Retry, h.Action = hello.Retry{Suite: suite, Group: group, Echo: f.answers.Echo}, ActionRetry
	}
}

// suite is the one of the ClientHello that was read: the one that its cookie was made for, or else the one that the server
// chooses. What makes it choose another may be in a later fragment, or may have been learned after the cookie was made.
func (f *wolfSSL13) suite() uint16 {
	x := &f.x
	if s := cookieSuite(x.Cookie); s != 0 && slices.Contains(f.answers.Suites, s) && hello.Lists(x.Suites, s) {
		return s
	}
	s := f.answers.suite(x.Suites)
	if s != 0 && x.PSK != nil {
		s = f.psk.suite(f.answers, x, s)
	}
	return s
}

// compute implements formula.
func (f *wolfSSL13) compute(k *cookie.Key, questions []question) {
	for i := range questions {
		q := &questions[i]
		if q.Action != ActionRetry {
			f.macFormula.compute(k, questions[i:i+1])
			continue
		}
		q.length = 0
		m := f.buffer[:0]
		if len(q.Cookie) == 0 {
			m = f.begin(m, q)
		} else if m = f.presented(m, q); len(m) == 0 {
			continue
		}
		q.length = copy(q.cookie[:], m)
		m = appendSockaddr(m, &q.seen, q.mapped)
		mac := f.under(k)
		mac.Reset()
		mac.Write(m)
		f.buffer = m
		f.sum = mac.Sum(f.sum[:0])
		q.length += copy(q.cookie[q.length:], f.sum)
	}
}

// begin appends the cookie of a first ClientHello up to the HMAC.
func (f *wolfSSL13) begin(m []byte, q *question) []byte {
	h, size := f.hashOf(q.Retry.Suite)
	n := len(q.Body)
	h.Reset()
	m = append(m, 1, byte(n>>16), byte(n>>8), byte(n)) // the header, in memory that is already there
	h.Write(m)
	h.Write(q.Body)
	m = append(m[:0], size)
	m = h.Sum(m)
	m = binary.BigEndian.AppendUint16(m, q.Retry.Suite)
	if q.Retry.Group != 0 {
		m = binary.BigEndian.AppendUint16(m, q.Retry.Group)
	}
	return m
}

// presented appends the presented cookie up to the HMAC, or nothing if it is malformed.
func (f *wolfSSL13) presented(m []byte, q *question) []byte {
	_, size := f.hashOf(q.Retry.Suite)
	least := 1 + int(size) + 2 + sha256.Size
	c := q.Cookie
	if len(c) != least && len(c) != least+2 || c[0] != size || binary.BigEndian.Uint16(c[1+size:]) != q.Retry.Suite {
		return m
	}
	return append(m, c[:len(c)-sha256.Size]...)
}

// hashOf returns the hash of a suite, and its length.
func (f *wolfSSL13) hashOf(suite uint16) (hash.Hash, byte) {
	if suite == suiteSHA384 {
		return f.sha384, sha512.Size384
	}
	return f.sha256, sha256.Size
}

// suiteSHA384 is TLS_AES_256_GCM_SHA384, the only suite of TLS 1.3 with that hash (RFC 8446 appendix B.4).
const suiteSHA384 = 0x1302
