package handoff

import (
	"crypto/subtle"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// native gives a client the cookie that the server itself would give it, computed from a secret that both have. In a
// proxy the server sees the guard's port in the client's place, so a client is mapped to a port first, as harvest
// does it; who forges a source address has to guess as there.
//
// A cookie does not say which secret made it: what the current one does not explain is tried under the previous one.
type native struct {
	formula   formula
	places    *harvest // nil inline
	questions []question
	undecided []int // numbers of hellos
}

// newNative makes the mode for batches of at most size hellos. pool is nil inline, where the server sees the clients'
// own addresses.
func newNative(f formula, p *cookie.Plan, pool *Pool, size int) *native {
	m := &native{formula: f, questions: make([]question, 0, size*choices), undecided: make([]int, 0, size)}
	if pool != nil {
		m.places = newHarvest(p, pool, size)
		m.places.computed = true
	}
	return m
}

// Judge implements Mode.
func (m *native) Judge(k *cookie.Keyring, hellos []Hello) {
	m.undecided = m.undecided[:0]
	for i := range hellos {
		m.undecided = append(m.undecided, i)
	}
	m.judge(k.Current(), hellos, true)
	m.undecided = m.undecided[:0]
	for i := range hellos {
		if len(hellos[i].Cookie) > 0 && !hellos[i].Verified {
			m.undecided = append(m.undecided, i)
		}
	}
	if p := k.Previous(); p != nil && len(m.undecided) > 0 {
		m.judge(p, hellos, false)
	}
}

// judge judges the undecided under k. answer says that who is not verified gets k's cookie.
func (m *native) judge(k *cookie.Key, hellos []Hello, answer bool) {
	m.questions = m.questions[:0]
	if m.places == nil {
		for _, i := range m.undecided {
			h := &hellos[i]
			m.ask(h, udpbatch.Endpoint{IP: h.Binding.Source, Port: h.Binding.SourcePort}, nil, answer)
		}
	} else {
		m.askFromPorts(k, hellos, answer)
	}
	m.formula.compute(k, m.questions)
	for i := range m.questions {
		q := &m.questions[i]
		switch {
		case q.length == 0 || q.Verified:
		case subtle.ConstantTimeCompare(q.Cookie, q.cookie[:q.length]) == 1:
			q.Verified, q.Port = true, q.port
		case q.answer:
			q.Length = copy(q.Answer[:], q.cookie[:q.length])
		}
	}
}

// askFromPorts asks for a cookie of the port that each of the undecided is to be given, and of each port whose cookie
// it may have.
func (m *native) askFromPorts(k *cookie.Key, hellos []Hello, answer bool) {
	batch := m.places.batch
	batch.Reset(len(m.undecided))
	for _, i := range m.undecided {
		batch.Add(&hellos[i].Binding)
	}
	batch.Sum(k)
	pool := m.places.pool
	turn := pool.turn.Add(uint32(len(m.undecided)))
	for lane, i := range m.undecided {
		h := &hellos[i]
		ports := m.places.candidates(batch, lane)
		promised := -1
		if answer && len(ports) > 0 {
			promised = m.places.promise(ports, turn-uint32(lane))
		}
		for _, at := range ports {
			if len(h.Cookie) > 0 || at == promised {
				m.ask(h, pool.seen[at], pool.ports[at], at == promised)
			}
		}
	}
}

func (m *native) ask(h *Hello, seen udpbatch.Endpoint, port *relay.Port, answer bool) {
	m.questions = m.questions[:len(m.questions)+1]
	q := &m.questions[len(m.questions)-1]
	q.Hello, q.seen, q.port, q.answer = h, seen, port, answer
}
