package handoff

import (
	"crypto/subtle"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// harvest offers a client the server's own cookie for the address that its handshake is mapped to.
type harvest struct{ portMap }

func newHarvest(pool *Pool) *harvest { return &harvest{portMap{pool: pool}} }

// Verify implements Verifier.
func (m *harvest) Verify(k *cookie.Keyring, hellos []Hello) {
	m.grace.previous(k, false) // detects a rotation at once
	var previous *cookie.Key
	asked := false // for the previous secret: the clock is read once per batch
	for i := range hellos {
		h := &hellos[i]
		if len(h.Cookie) > 0 {
			if m.verify(h, k.Current()); h.Verified {
				continue
			}
		}
		if at := m.offer(k.Current(), &h.Binding); at >= 0 {
			h.Length = m.pool.entries[at].get((*[hello.MaxCookie]byte)(h.Answer[:]))
		}
		if len(h.Cookie) == 0 {
			continue
		}
		// The server's cookie does not tell which of the guard's secrets mapped it, so a cookie that the current
		// secret does not explain is tried under the previous one.
		if !asked {
			previous, asked = m.grace.previous(k, true), true
		}
		if previous != nil {
			m.verify(h, previous)
		}
	}
}

// verify verifies h if it has the cookie of its entry under k.
func (m *harvest) verify(h *Hello, k *cookie.Key) {
	at := m.expected(k, &h.Binding)
	if at < 0 {
		return
	}
	var c [hello.MaxCookie]byte
	n := m.pool.entries[at].get(&c)
	if n > 0 && subtle.ConstantTimeCompare(h.Cookie, c[:n]) == 1 {
		h.Verified, h.Place = true, Place{m.pool, at}
		m.pool.used(at)
	}
}

// preHandshake implements preHandshaker: a server that counts from the first ClientHello has forgotten the one that asked for the
// cookie.
func (m *harvest) preHandshake() relay.PreHandshake {
	if m.pool.counts {
		return new(replaying)
	}
	return nil
}
