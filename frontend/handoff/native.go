package handoff

import (
	"crypto/subtle"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// native offers a client the cookie that the server itself would issue, computed from a shared secret. In a proxy the
// server sees the guard's port instead of the client's, so a client is first mapped to a port, as in mode harvest; a
// forger of source addresses has to guess that port.
//
// A cookie does not tell its secret: one that the current secret does not explain is tried under the previous one.
type native struct {
	formula   formula
	mapped    bool     // the server sees IPv4 addresses v4-mapped
	ports     *portMap // nil inline
	questions []question
	undecided []int      // indices of hellos
	retries   *wolfSSL13 // the formula, if it is that; nil: the server does not speak DTLS 1.3
}

// perHello is the number of cookies per ClientHello: the one that it must present, and the one that it is offered.
const perHello = 2

// newNative makes the mode for batches of at most size hellos. pool is nil inline, where the server sees the clients' own
// addresses.
func newNative(f formula, mapped bool, pool *Pool, size int) *native {
	retries, _ := f.(*wolfSSL13)
	m := &native{retries: retries, formula: f, mapped: mapped, questions: make([]question, 0, size*perHello), undecided: make([]int, 0, size)}
	if pool != nil {
		m.ports = &portMap{pool: pool}
	}
	return m
}

// Verify implements Verifier.
func (m *native) Verify(k *cookie.Keyring, hellos []Hello) {
	m.undecided = m.undecided[:0]
	for i := range hellos {
		if m.retries != nil {
			m.retries.classify(&hellos[i])
		}
		if hellos[i].Action != ActionNoRetry {
			m.undecided = append(m.undecided, i)
		}
	}
	m.verify(k.Current(), hellos, true)
	m.undecided = m.undecided[:0]
	for i := range hellos {
		if h := &hellos[i]; len(h.Cookie) > 0 && !h.Verified && h.Action != ActionNoRetry {
			m.undecided = append(m.undecided, i)
		}
	}
	p := k.Previous()
	if m.ports != nil { // each further secret makes guessing easier
		p = m.ports.grace.previous(k, len(m.undecided) > 0)
	}
	if p != nil && len(m.undecided) > 0 {
		m.verify(p, hellos, false)
	}
	for _, i := range m.undecided {
		if h := &hellos[i]; h.Action == ActionRetry && !h.Verified {
			h.Action = ActionBadRetry // a second HelloRetryRequest is not allowed
		}
	}
}

// verify verifies the undecided hellos under k. answer: clients that are not verified are offered k's cookie.
func (m *native) verify(k *cookie.Key, hellos []Hello, answer bool) {
	m.questions = m.questions[:0]
	if m.ports == nil {
		for _, i := range m.undecided {
			h := &hellos[i]
			q := m.question(h, udpbatch.Endpoint{IP: h.Binding.Source, Port: h.Binding.SourcePort})
			q.expected, q.answer = true, answer
		}
	} else {
		m.askFromPorts(k, hellos, answer)
	}
	m.formula.compute(k, m.questions)
	for i := range m.questions {
		q := &m.questions[i]
		switch {
		case q.length == 0 || q.Verified:
		case q.expected && subtle.ConstantTimeCompare(q.Cookie, q.cookie[:q.length]) == 1:
			q.Verified, q.Place = true, q.place
		case q.answer:
			q.Length = copy(q.Answer[:], q.cookie[:q.length])
		}
	}
}

// askFromPorts asks for the cookie of the entry that each undecided hello is offered, and of the one that it must
// present.
func (m *native) askFromPorts(k *cookie.Key, hellos []Hello, answer bool) {
	pool := m.ports.pool
	for _, i := range m.undecided {
		h := &hellos[i]
		expected, offered := -1, -1
		if len(h.Cookie) > 0 {
			expected = m.ports.expected(k, &h.Binding)
		}
		if answer {
			offered = m.ports.offer(k, &h.Binding)
		}
		if expected >= 0 {
			q := m.question(h, pool.seen(expected))
			q.place, q.expected, q.answer = Place{pool, expected}, true, expected == offered
		}
		if offered >= 0 && offered != expected {
			m.question(h, pool.seen(offered)).answer = true
		}
	}
}

// question adds the question for h's cookie, as if h came from the address that the server sees.
func (m *native) question(h *Hello, seen udpbatch.Endpoint) *question {
	m.questions = m.questions[:len(m.questions)+1]
	q := &m.questions[len(m.questions)-1]
	q.Hello, q.seen, q.mapped = h, seen, m.mapped
	q.place, q.expected, q.answer = Place{}, false, false
	return q
}
