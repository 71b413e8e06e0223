package handoff

import (
	"context"
	"math/big"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Pool is a number of addresses that clients have at one server, and the cookie that the server gives each. An entry has a
// socket only while it is asked for, and while a flow has it. Servers that must be asked often, or that keep who asked, have
// pools with sockets of their own: see keep.
//
// Entries are taken by workers; cookies are written by the one goroutine that harvests. What stands here before it is used does
// not change.
type Pool struct {
	server   netip.AddrPort
	sources  sources
	size     int  // with so many cookies it is full
	computed bool // any free entry will do: its cookie is computed
	counts   bool // the server remembers clients, and is told to forget
	pending  bool // ... and is not, for it takes a cookie only from whom it keeps: see pending.go
	entries  []Entry
	clock    *atomic.Uint32
	kept     []*relay.Upstream // with keep: one for each entry

	known   atomic.Int32
	inUse   atomic.Int32   // entries that handshakes are mapped to: the first ones
	bounded atomic.Int32   // entries that the server gives cookies to, and no more; 0: no bound was seen
	more    atomic.Bool    // fill was stopped and goes on
	left    []atomic.Int64 // pending: since when each entry's handshake is left unfinished, Unix nanoseconds; 0: it is not
	asked   []time.Time    // with keep: when the question was asked that each entry has its cookie of
	holds   holds

	asker
}

// Sizes of pools, where none is asked for.
const (
	// DefaultPool is that of a pool without sockets: a forged cookie is right once in 65536 guesses, once in 32768 right
	// after a rotation. It asks the server for 65536 cookies when it starts, which is half a second of DTLSv1_listen.
	DefaultPool = 1 << 16
	// socketPool is that of a pool with sockets.
	socketPool = 4096
	// pendingPool is that of one whose entries are unfinished handshakes at the server: 17 MB in coturn 4.6.
	pendingPool = 256
)

// spare is the share of the entries, one for so many, that a pool has in reserve. A server that still has an association
// with an earlier guard on an address, or with a client that vanished, is silent on it until it forgets. And some ports are
// other programs'. With the reserve a pool that is full has at least the cookies that were asked for, so a guess is right no
// more often than that number says.
const spare = 16

// Entries is how many entries a pool of size has: it is full as soon as the cookies of size are known. They are a prime
// number, so that walks of any step come by all of them.
func Entries(size int) int {
	n := size + max(1, size/spare)
	for !big.NewInt(int64(n)).ProbablyPrime(0) { // which is proof below 2^64
		n++
	}
	return n
}

// entriesAtMost is the largest prime number up to n, and size what a pool of so many entries has.
func entriesAtMost(n int) (entries, size int) {
	for n > 2 && !big.NewInt(int64(n)).ProbablyPrime(0) {
		n--
	}
	return n, max(1, n*spare/(spare+1))
}

// newPool makes a pool towards server, of the given size or 0 for the default, in the memory that table gives for so many
// entries.
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

// defaultPool is the size of a pool where none is asked for.
func (p *Profile) defaultPool(keep bool) int {
	switch {
	case p.Pending:
		return pendingPool
	case keep:
		return socketPool
	}
	return DefaultPool
}

// fits reports whether the pool, if there is one, is as mode m needs it for a server of profile pr.
func (p *Pool) fits(m Mode, pr *Profile) bool {
	return p != nil && p.counts == pr.counts() && p.pending == pr.Pending && p.computed == m.Native() &&
		(p.kept != nil) == (!m.Native() && pr.keepsSockets())
}

// seen is whom the server sees behind entry i.
func (p *Pool) seen(i int) udpbatch.Endpoint {
	a := p.sources.at(i)
	if p.kept != nil {
		a = p.kept[i].Local()
	}
	return udpbatch.Endpoint{IP: a.Addr().As16(), Port: a.Port()}
}

// free reports whether nobody has entry i.
func (p *Pool) free(i int) bool { return p.entries[i].taken.Load() == 0 }

// Place is an entry of a pool: whom the server sees in a client's place. The zero Place is none.
type Place struct {
	pool  *Pool
	entry int
}

// Given reports whether it is a place at all.
func (p Place) Given() bool { return p.pool != nil }

// Open takes the entry and returns the socket that stands for a client at the server; Release gives it back. nil without an
// error says that another client has it, or another program has had its port for a second: then the client may be offered
// another cookie. It may hold datagrams of an earlier flow. The error is ErrPortBusy if the client is to be met again.
func (p Place) Open() (*relay.Upstream, error) {
	e := &p.pool.entries[p.entry]
	if !e.taken.CompareAndSwap(0, takenByFlow) {
		return nil, nil
	}
	if p.pool.kept != nil {
		return p.pool.kept[p.entry], nil
	}
	return p.pool.open(p.entry)
}

// close gives back what the pool has, but for the sockets that flows have. No worker may begin to use it any more.
func (p *Pool) close() {
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

// tick moves the clock of reservations on.
func (p *Pool) tick(now time.Time) {
	p.clock.Store(uint32(now.Unix()))
	p.review(uint32(now.Unix()))
}

// Servers that keep who asks without saying so: libcoap has room for 100 that asked in the last half minute, and hears
// no others, clients of theirs included.
const (
	// enough is how many entries such a pool must have.
	enough = 64
	// patientFills is how many fills after each other must have brought nothing, of a server that answers the canary.
	patientFills = 3
)

// A large pool serves while it is filled: handshakes are mapped to its first entries, whose cookies are asked for first, then
// to more of them. Each time they are mapped anew, and a client between its two ClientHellos may be asked for another cookie.
// So there are few steps.
const (
	servesFrom = 1021 // entries, of a pool larger than largePool
	largePool  = servesFrom * stepUp
	stepUp     = 8
)

// nextStep is how many entries handshakes are mapped to after inUse of n; a prime number.
func nextStep(inUse, n int) int {
	next := inUse * stepUp
	switch {
	case inUse == 0 && n > largePool:
		return servesFrom
	case inUse == 0, next*2 > n:
		return n
	}
	next, _ = entriesAtMost(next)
	return next
}

// advance maps handshakes to as many entries as have cookies, but for those in reserve.
func (p *Pool) advance() {
	for {
		inUse := int(p.inUse.Load())
		next := nextStep(inUse, len(p.entries))
		if inUse == len(p.entries) || int(p.known.Load()) == 0 || p.lacking(next) > p.reserve(next) {
			return
		}
		p.inUse.Store(int32(next))
	}
}

// reserve is how many of the first n entries may lack a cookie.
func (p *Pool) reserve(n int) int {
	if n == len(p.entries) {
		return n - p.size
	}
	return n / spare
}

// fill asks for the cookies that are not known, of entries that are free, and reports whether the pool can serve. It stops
// at a time that until says, and when the server says nothing any more.
func (p *Pool) fill(ctx context.Context, until func(p *Pool) bool) bool {
	before, missing := int(p.known.Load()), p.missing()
	if p.most > 0 {
		missing = missing[:min(len(missing), max(0, p.most-before))]
	}
	p.more.Store(p.askAll(ctx, missing, until))
	p.advance()
	known, inUse := int(p.known.Load()), int(p.inUse.Load())
	switch {
	case p.most > 0:
		return known >= enough
	case inUse == 0 || known < p.size && p.lacking(inUse) > p.reserve(inUse):
		if p.fruitless++; known > before {
			p.fruitless = 0
		}
		if p.fruitless >= patientFills && known >= enough {
			p.settle(known)
		}
		return p.most > 0
	}
	p.fruitless = 0
	return known > 0
}

// settle is for a server that gives so many cookies and no more.
func (p *Pool) settle(known int) {
	last := 0
	for i := range p.entries {
		if p.entries[i].known() {
			last = i
		}
	}
	n := last + 1
	for n < len(p.entries) && !big.NewInt(int64(n)).ProbablyPrime(0) {
		n++
	}
	p.most = known
	p.bounded.Store(int32(known))
	p.inUse.Store(int32(n))
}

// lacking is how many of the first entries are free and have no cookie.
func (p *Pool) lacking(of int) (n int) {
	for i := range of {
		if !p.entries[i].known() && p.free(i) {
			n++
		}
	}
	return n
}

// missing are the entries that are free and whose cookie is not known, but for those on which the server is silent and that
// are let alone for a time.
func (p *Pool) missing() (list []int) {
	if int(p.known.Load()) == len(p.entries) {
		return nil
	}
	now := time.Now()
	for i := range p.entries {
		if p.entries[i].known() || !p.free(i) {
			continue
		}
		if s, ok := p.silent[i]; !ok || now.After(s.until) {
			list = append(list, i)
		}
	}
	return list
}

// refresh asks again for the cookies that are older than young. A cookie already offered is refreshed 25 % later: the
// client may still return it, and some servers reject a client that was offered two. Those of entries in use are forgotten,
// for they may be too old when the entry is free; fill asks for them then, and for those on which the server is silent:
// waiting for it twice would make the others old. Only pools with sockets are refreshed.
func (p *Pool) refresh(ctx context.Context, young time.Duration) {
	var old []int
	clock, now := p.clock.Load(), time.Now()
	for i := range p.kept {
		age := now.Sub(p.asked[i])
		if !p.entries[i].known() || age <= young || age <= young+young/4 && p.entries[i].kept(clock) {
			continue
		}
		if p.free(i) {
			old = append(old, i)
		} else {
			p.forgetOne(i)
		}
	}
	p.askAll(ctx, old, toTheEnd)
}

// toTheEnd is for fills that go on to their end.
func toTheEnd(*Pool) bool { return false }

// openAll opens a socket for each entry, which it has for as long as the pool lives.
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

// retire closes the sockets that no flow has, and returns the others.
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
