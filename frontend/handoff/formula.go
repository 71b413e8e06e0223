package handoff

import (
	"hash"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// question is a ClientHello as the server sees it, and the server's cookie for it.
type question struct {
	*Hello
	seen     udpbatch.Endpoint          // the address that the server sees: the client's, or the guard's port towards the server
	mapped   bool                       // an IPv4 address in its v4-mapped form
	place    Place                      // ... of that entry; zero: seen is the client itself
	expected bool                       // cookie is the one that the client must present
	answer   bool                       // cookie is the one to offer if the client's is not valid
	cookie   [hello.MaxRetryCookie]byte // the computed cookie
	length   int                        // of cookie; 0: this datagram does not suffice to compute it
}

// formula computes the cookies of one kind of server. Not safe for concurrent use.
type formula interface {
	// compute computes the cookies of questions under k. It allocates only when k is new.
	compute(k *cookie.Key, questions []question)
}

// newFormula makes the formula of a native mode for the server at address, for at most size questions at a time.
func newFormula(kind Mode, server netip.AddrPort, p *cookie.Plan, size int) formula {
	switch kind {
	case NativeQt:
		return newQt()
	case NativeWolfSSL:
		return newWolfSSL()
	case NativeGnuTLS:
		return newGnuTLS()
	}
	return newV1(p, server.Port(), size)
}

// macFormula is an HMAC over a message.
type macFormula struct {
	hash    func() hash.Hash
	length  int                                             // of the cookie; the rest of the HMAC is cut off
	message func(m []byte, q *question) (_ []byte, ok bool) // appends the message of the HMAC; not ok: parts are missing

	keyed [2]struct { // the keys of a keyring, latest first
		key *cookie.Key
		mac hash.Hash
	}
	buffer []byte // grows to the longest message
	sum    []byte
}

func (f *macFormula) compute(k *cookie.Key, questions []question) {
	mac := f.under(k)
	for i := range questions {
		q := &questions[i]
		m, ok := f.message(f.buffer[:0], q)
		f.buffer = m
		q.length = 0
		if !ok {
			continue
		}
		mac.Reset()
		mac.Write(m)
		f.sum = mac.Sum(f.sum[:0])
		q.length = copy(q.cookie[:f.length], f.sum)
	}
}

// under returns the HMAC for k.
func (f *macFormula) under(k *cookie.Key) hash.Hash {
	for i := range f.keyed {
		if f.keyed[i].key == k {
			return f.keyed[i].mac
		}
	}
	f.keyed[1] = f.keyed[0]
	f.keyed[0].key, f.keyed[0].mac = k, k.HMAC(f.hash)
	return f.keyed[0].mac
}
