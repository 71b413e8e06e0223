package handoff

import (
	"math/big"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Pool is the set of addresses that clients can have at one server, with the server's cookie for each. An entry has a
// socket only while it is being asked for and while a flow uses it. Pools for servers that must be asked often, or that
// keep state per address, have permanent sockets: see keep.
//
// Workers take entries; one goroutine, the harvester, writes cookies. The fields above mu do not change once the pool is
// in use.
type Pool struct {
	server   netip.AddrPort
	sources  sources
	size     int  // the pool is full with this many cookies
	computed bool // any free entry is usable: its cookie is computed
	counts   bool // the server keeps state per client, and is told to forget
	pending  bool // ... and is not told, because it accepts a cookie only from a peer with state: see pending.go
	entries  []Entry
	clock    *atomic.Uint32
	retired  atomic.Bool       // another pool has taken its place
	kept     []*relay.Upstream // with keep: one for each entry

	known   atomic.Int32
	inUse   atomic.Int32   // entries that handshakes are mapped to: the first ones
	bounded atomic.Int32   // entries that the server gives cookies to at most; 0: unlimited as far as known
	more    atomic.Bool    // fill was stopped and must continue
	left    []atomic.Int64 // pending: since when each entry's handshake is unfinished, Unix nanoseconds; 0: it is not
	asked   []time.Time    // with keep: when each entry's cookie was asked for
	holds   holds

	asker
}

// Default sizes of pools.
const (
	// DefaultPool is the size of a pool without sockets: one in 65536 forged cookies is right, one in 32768 right
	// after a rotation. At start it asks the server for 65536 cookies, half a second of DTLSv1_listen.
	DefaultPool = 1 << 16
	// socketPool is the size of a pool with sockets.
	socketPool = 4096
	// pendingPool is the size of a pool of unfinished handshakes at the server: 17 MB in coturn 4.6.
	pendingPool = 256
)

// spare is the share of reserve entries, one in spare. A server that still has an association on an address, with an
// earlier guard or with a client that vanished, is silent on it until it forgets; and some ports belong to other
// programs. With the reserve a full pool has at least as many cookies as asked for, so guesses are right no more often
// than that number says.
const spare = 16

// Entries returns the number of entries of a pool of size, which is full when size cookies are known. It is a prime, so
// that walks of any step visit all entries.
func Entries(size int) int {
	n := size + max(1, size/spare)
	for !big.NewInt(int64(n)).ProbablyPrime(0) { // which is a proof below 2^64
		n++
	}
	return n
}

// entriesAtMost is the largest prime up to n, and size the size of a pool with that many entries.
func entriesAtMost(n int) (entries, size int) {
	for n > 2 && !big.NewInt(int64(n)).ProbablyPrime(0) {
		n--
	}
	return n, max(1, n*spare/(spare+1))
}

// newPool makes a pool towards server, of the given size or 0 for the default, in memory that table allocates.
func newPool(server netip.AddrPort, p *Profile, m Mode, size int, question []byte, table func(n int) Table) (*Pool, error) {
	pool := &Pool{server: server, counts: p.counts(), pending: p.Pending, computed: m.Native()}
	keep := !pool.computed && p.keepsSockets()
	pool.holds.begin()
	pool.size = size
	if size == 0 {
		pool.size = p.defaultPool(keep)
	}
	n := Entries(pool.size)
	var err error
	if pool.sources, err = newSources(server, n, p.several(server.Addr())); err != nil {
		return nil, err
	}
	if most := pool.sources.most(); n > most {
		n, pool.size = entriesAtMost(most)
	}
	t := table(n)
	pool.entries, pool.clock = t.Entries[:min(n, len(t.Entries))], t.Clock
	for i := range pool.entries {
		pool.entries[i].forget()
		pool.entries[i].reserved.Store(0)
	}
	if pool.computed {
		pool.inUse.Store(int32(len(pool.entries)))
	}
	pool.tick(time.Now())
	if pool.asker, err = newAsker(question, keep); err != nil {
		return nil, err
	}
	if keep {
		err = pool.openAll()
	}
	if err != nil {
		pool.close()
		return nil, err
	}
	return pool, nil
}

// countTaken counts the entries that are taken, by whom.
func (p *Pool) countTaken() (flows, others int) {
	for i := range p.entries {
		switch p.entries[i].taken.Load() {
		case takenByFlow:
			flows++
		case takenByOther:
			others++
		}
	}
	return flows, others
}

// defaultPool is the default size of a pool.
func (p *Profile) defaultPool(keep bool) int {
	switch {
	case p.Pending:
		return pendingPool
	case keep:
		return socketPool
	}
	return DefaultPool
}

// fits reports whether the pool, if there is one, suits mode m for a server of profile pr.
func (p *Pool) fits(m Mode, pr *Profile) bool {
	return p != nil && p.counts == pr.counts() && p.pending == pr.Pending && p.computed == m.Native() &&
		(p.kept != nil) == (!m.Native() && pr.keepsSockets())
}

// seen is the address that the server sees for entry i.
func (p *Pool) seen(i int) udpbatch.Endpoint {
	a := p.sources.at(i)
	if p.kept != nil {
		a = p.kept[i].Local()
	}
	return udpbatch.Endpoint{IP: a.Addr().As16(), Port: a.Port()}
}

// free reports whether entry i is not in use.
func (p *Pool) free(i int) bool { return p.entries[i].taken.Load() == 0 }

// Place is an entry of a pool: the address that the server sees instead of the client's. The zero Place is none.
type Place struct {
	pool  *Pool
	entry int
}

// Given reports whether the place is set.
func (p Place) Given() bool { return p.pool != nil }

// Open takes the entry and returns the socket that represents a client at the server; Release returns it. nil without an
// error means that another client has it, or that another program has had its port for a second: the client may then be
// offered another cookie. The socket may hold datagrams of an earlier flow. The error is ErrPortBusy if the client should
// try again.
func (p Place) Open() (*relay.Upstream, error) {
	e := &p.pool.entries[p.entry]
	if !e.taken.CompareAndSwap(0, takenByFlow) {
		return nil, nil
	}
	if p.pool.retired.Load() { // after the entry was taken: its socket is closed before that, or not until it is free
		e.taken.Store(0)
		return nil, nil
	}
	if p.pool.kept != nil {
		return p.pool.kept[p.entry], nil
	}
	return p.pool.open(p.entry)
}

// close ends the pool. Workers that know it still get no places.
func (p *Pool) close() {
	p.retired.Store(true)
	p.endHolds()
	p.asker.close()
}

// forgetOne makes an entry's cookie unknown.
func (p *Pool) forgetOne(i int) {
	if p.entries[i].forget() {
		p.known.Add(-1)
	}
}

// forget makes all cookies unknown, as after a restart of the server; of those that are computed there is nothing to forget.
func (p *Pool) forget() {
	if p.computed {
		return
	}
	defer p.endHolds()
	for i := range p.entries {
		p.forgetOne(i)
	}
	p.most, p.fruitless = 0, 0
	p.bounded.Store(0)
	p.inUse.Store(0)
	clear(p.silent)
}

// tick advances the clock of reservations.
func (p *Pool) tick(now time.Time) {
	p.clock.Store(uint32(now.Unix()))
	p.review(uint32(now.Unix()))
}

// Some servers keep state without showing it: libcoap has room for 100 peers that asked in the last half minute, and
// ignores all others, including clients.
const (
	// enough is the least size of such a pool.
	enough = 64
	// patientFills is how many consecutive fills may bring nothing from a server that answers the canary.
	patientFills = 3
)

// A large pool serves while it is being filled: handshakes are mapped to its first entries, whose cookies are requested
// first, then to more of them. Each such step changes the mapping, and a client between its two ClientHellos may be
// offered another cookie, so there are few steps.
const (
	servesFrom = 1021 // entries, of a pool larger than largePool
	largePool  = servesFrom * stepUp
	stepUp     = 8
)

// openAll opens a permanent socket per entry.
func (p *Pool) openAll() error {
	p.left, p.asked = make([]atomic.Int64, len(p.entries)), make([]time.Time, len(p.entries))
	for i := range p.entries {
		e := &p.entries[i]
		c, err := udpbatch.Dial(p.server)
		if err != nil {
			for _, u := range p.kept {
				_ = u.Close()
			}
			p.kept = nil
			return poolError(i, len(p.entries), err)
		}
		p.kept = append(p.kept, relay.KeepUpstream(c, &e.taken))
	}
	return nil
}

// retire closes the sockets that no flow uses, and returns the others.
func retire(list []*relay.Upstream) []*relay.Upstream {
	return slices.DeleteFunc(list, func(u *relay.Upstream) bool {
		if !u.Acquire() {
			return false
		}
		_ = u.Close()
		u.Release()
		return true
	})
}
