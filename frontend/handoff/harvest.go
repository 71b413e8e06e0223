package handoff

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// harvest gives a client the server's own cookie for one of the ports that the client's handshake is mapped to.
//
// Who forges a source address must guess which ports those are: the map is keyed by the guard's secret, and of
// as many guesses as the pool has ports, [choices] are right under each of the keyring's two secrets.
type harvest struct {
	pool     *Pool
	batch    *cookie.Batch
	previous *cookie.Batch
	second   []int
	computed bool         // any free port will do: its cookie is computed
	found    [choices]int // what candidates returned last
}

// choices is how many ports a handshake may take. With one, a client whose port is taken between its two
// ClientHellos by another one would be lost: it takes a second HelloVerifyRequest, but OpenSSL takes no third
// ClientHello from it. When 50 clients come at once to a pool of 4096, that happens to one of them every
// fourth time. With two, of which the one promised longest ago is taken, both must have been promised to
// handshakes under way: to the last of 1000 clients that come at once in 6 % of all cases, against 24 %, and
// among 50 once in 600 times. The price is that a forged cookie is right twice as often.
const choices = 2

func newHarvest(p *cookie.Plan, pool *Pool, size int) *harvest {
	return &harvest{pool: pool, batch: p.NewBatch(size), previous: p.NewBatch(size), second: make([]int, 0, size)}
}

// Judge implements Mode.
func (m *harvest) Judge(k *cookie.Keyring, hellos []Hello) {
	m.batch.Reset(len(hellos))
	for i := range hellos {
		m.batch.Add(&hellos[i].Binding)
	}
	m.batch.Sum(k.Current())
	m.second = m.second[:0]
	turn := m.pool.turn.Add(uint32(len(hellos)))
	for i := range hellos {
		h := &hellos[i]
		ports := m.candidates(m.batch, i)
		if len(h.Cookie) > 0 {
			if m.judge(h, ports); h.Verified {
				continue
			}
			m.second = append(m.second, i)
		}
		if len(ports) > 0 {
			h.Length = m.pool.slots[m.promise(ports, turn-uint32(i))].get(&h.Answer)
		}
	}
	// The server's cookie does not say which of the guard's secrets mapped it, so what the current one does
	// not explain is tried under the previous one.
	if len(m.second) == 0 || k.Previous() == nil {
		return
	}
	m.previous.Reset(len(m.second))
	for _, i := range m.second {
		m.previous.Add(&hellos[i].Binding)
	}
	m.previous.Sum(k.Previous())
	for lane, i := range m.second {
		m.judge(&hellos[i], m.candidates(m.previous, lane))
	}
}

// judge looks for the one of ports whose cookie h has.
func (m *harvest) judge(h *Hello, ports []int) {
	for _, at := range ports {
		var c [hello.MaxCookie]byte
		n := m.pool.slots[at].get(&c)
		if n > 0 && subtle.ConstantTimeCompare(h.Cookie, c[:n]) == 1 {
			h.Verified, h.Port = true, m.pool.ports[at]
		}
	}
}

// promise returns the one of ports that was promised longest ago, and notes the promise. It is no
// more than a hint: nothing depends on it but how seldom two handshakes get the same port, and under a flood
// it says nothing.
func (m *harvest) promise(ports []int, turn uint32) int {
	best := ports[0]
	for _, at := range ports[1:] {
		if int32(m.pool.slots[at].promised.Load()-m.pool.slots[best].promised.Load()) < 0 { // turns wrap
			best = at
		}
	}
	m.pool.slots[best].promised.Store(turn)
	return best
}

// longestWalk bounds the search for free ports. In a pool that is half in use it takes eight steps on average;
// with nine ports of ten in use, one search in 800 gives up after 64 steps without any.
const longestWalk = 64

// candidates maps a lane's tag to the first ports from there on that are free and whose cookie is known. The
// result lives until the next call.
func (m *harvest) candidates(b *cookie.Batch, lane int) []int {
	var tag [cookie.Size]byte
	b.Cookie(lane, &tag)
	// The first 8 bytes after the epoch; the bias of the modulo is below 2^-50.
	at := int(binary.BigEndian.Uint64(tag[1:]) % uint64(len(m.pool.ports)))
	n := 0
	for range min(longestWalk, len(m.pool.ports)) {
		if m.pool.slots[at].usable(m.computed) {
			m.found[n] = at
			if n++; n == choices {
				break
			}
		}
		if at++; at == len(m.pool.ports) {
			at = 0
		}
	}
	return m.found[:n]
}
