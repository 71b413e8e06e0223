package handoff

import (
	"crypto/subtle"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// harvest gives a client the server's own cookie for the port that the client's handshake is mapped to.
type harvest struct {
	places
	batch    *cookie.Batch
	previous *cookie.Batch
	second   []int // numbers of hellos
}

func newHarvest(p *cookie.Plan, pool *Pool, size int) *harvest {
	return &harvest{places: places{pool: pool}, batch: p.NewBatch(size), previous: p.NewBatch(size), second: make([]int, 0, size)}
}

// Verify implements Verifier.
func (m *harvest) Verify(k *cookie.Keyring, hellos []Hello) {
	m.batch.Reset(len(hellos))
	for i := range hellos {
		m.batch.Add(&hellos[i].Binding)
	}
	m.batch.Sum(k.Current())
	m.second = m.second[:0]
	for i := range hellos {
		h := &hellos[i]
		place := m.of(m.batch, i)
		if len(h.Cookie) > 0 {
			if m.judge(h, place); h.Verified {
				continue
			}
			m.second = append(m.second, i)
		}
		if at := m.promise(place); at >= 0 {
			h.Length = m.pool.slots[at].get(&h.Answer)
		}
	}
	// The server's cookie does not say which of the guard's secrets mapped it, so what the current one does
	// not explain is tried under the previous one.
	previous := m.grace.previous(k, len(m.second) > 0)
	if previous == nil {
		return
	}
	m.previous.Reset(len(m.second))
	for _, i := range m.second {
		m.previous.Add(&hellos[i].Binding)
	}
	m.previous.Sum(previous)
	for lane, i := range m.second {
		m.judge(&hellos[i], m.of(m.previous, lane))
	}
}

// judge verifies h if it has the cookie of the port that is due.
func (m *harvest) judge(h *Hello, from place) {
	at := m.due(from)
	if at < 0 {
		return
	}
	var c [hello.MaxCookie]byte
	n := m.pool.slots[at].get(&c)
	if n > 0 && subtle.ConstantTimeCompare(h.Cookie, c[:n]) == 1 {
		h.Verified, h.Port = true, m.pool.ports[at]
		m.pool.used(at)
	}
}

// prelude implements preluding: a server that counts from the first ClientHello has forgotten the one that asked for
// the cookie.
func (m *harvest) prelude() relay.Prelude {
	if m.pool.counts.Load() {
		return new(replaying)
	}
	return nil
}
