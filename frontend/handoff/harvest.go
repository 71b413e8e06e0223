package handoff

import (
	"crypto/subtle"
	"encoding/binary"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// harvest gives a client the server's own cookie for the port that the client's handshake is mapped to.
//
// Who forges a source address must guess which port that is: the map is keyed by the guard's secret, and a
// guess is right once in as many times as the pool has ports.
type harvest struct {
	pool     *Pool
	batch    *cookie.Batch
	previous *cookie.Batch
	second   []int
}

func newHarvest(pool *Pool, size int) *harvest {
	return &harvest{pool: pool, batch: cookie.NewBatch(size), previous: cookie.NewBatch(size), second: make([]int, 0, size)}
}

// Judge implements Mode.
func (m *harvest) Judge(k *cookie.Keyring, hellos []Hello) {
	m.batch.Reset(len(hellos))
	for i := range hellos {
		m.batch.Add(&hellos[i].Binding)
	}
	m.batch.Sum(k.Current())
	m.second = m.second[:0]
	for i := range hellos {
		h := &hellos[i]
		port, c := m.pick(m.batch, i)
		if port == nil {
			continue
		}
		if h.judge(port, c); !h.Verified && len(h.Cookie) > 0 {
			m.second = append(m.second, i)
		}
		h.Length = copy(h.Answer[:], c.bytes())
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
		if port, c := m.pick(m.previous, lane); port != nil {
			hellos[i].judge(port, c)
		}
	}
}

// judge compares h's cookie with the one of the port that h is mapped to.
func (h *Hello) judge(port *relay.Port, c *harvested) {
	if subtle.ConstantTimeCompare(h.Cookie, c.bytes()) == 1 {
		h.Verified, h.Port = true, port
	}
}

// longestWalk bounds the search for a free port. A pool that is half in use takes two steps on average; with
// nine ports of ten in use, one search in 800 gives up after 64 steps.
const longestWalk = 64

// pick maps a lane's tag to the first port from there on that is free and whose cookie is known.
func (m *harvest) pick(b *cookie.Batch, lane int) (*relay.Port, *harvested) {
	var tag [cookie.Size]byte
	b.Cookie(lane, &tag)
	// The first 8 bytes after the epoch; the bias of the modulo is below 2^-50.
	at := binary.BigEndian.Uint64(tag[1:]) % uint64(len(m.pool.ports))
	for range min(longestWalk, len(m.pool.ports)) {
		if c := m.pool.cookies[at].Load(); c != nil && m.pool.ports[at].Free() {
			return m.pool.ports[at], c
		}
		if at++; at == uint64(len(m.pool.ports)) {
			at = 0
		}
	}
	return nil, nil
}
