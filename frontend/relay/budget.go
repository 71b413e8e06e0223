package relay

import (
	"sync"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// Limits of flows. 0 means no limit, except for Flows.
type Limits struct {
	Flows             int // in all
	PerSource         int // of one source: an IPv4 address or an IPv6 /64
	HalfOpenPerSource int
}

const (
	// halfOpenShare: a quarter of all flows may be half-open. With handshakes of one second that is a quarter of
	// setting max-flows in new clients per second.
	halfOpenShare = 4
	// PrefixFactor is how many times the limits of a source a prefix has: an IPv4 /24, an IPv6 /48.
	PrefixFactor = 8
	// roomyFactor is how many times its limits a source or prefix may use while every budget is less than half used:
	// 300 clients behind one address may start at once, and no client waits for unused room.
	roomyFactor = 8
	// ownShare: a table may have a sixteenth of what may be half-open although others have used all. It can end none of
	// theirs, so its clients would end each other's handshakes; and who knows how packets are spread over workers can
	// bring all of an attack to one of them.
	ownShare = 16
)

// HalfOpen is how many flows may be half-open in all.
func (l Limits) HalfOpen() int { return max(1, l.Flows/halfOpenShare) }

// Named returns the limits by the names of what they bound. 0 is unlimited.
func (l Limits) Named() map[string]int {
	return map[string]int{
		"flows": l.Flows, "half-open": l.HalfOpen(),
		"source-flows": l.PerSource, "source-half-open": l.HalfOpenPerSource,
		"prefix-flows": l.PerSource * PrefixFactor, "prefix-half-open": l.HalfOpenPerSource * PrefixFactor,
	}
}

// Reason is why a new client does not get a flow.
type Reason uint8

// The reasons. From Full on an old flow must end; with the others the client's own source must end flows first.
const (
	Accepted Reason = iota
	SourceFlows
	SourceHalfOpen
	PrefixFlows
	PrefixHalfOpen
	FlowsFull    // --max-flows
	HalfOpenFull // a quarter of that
	PoolFull     // of the service's upstream sockets
	NoFiles      // the limit of open files
	NoPorts      // the ephemeral ports of this host
	ReasonLen
)

var reasonNames = [ReasonLen]string{"", "source-flows", "source-half-open", "prefix-flows", "prefix-half-open",
	"max-flows", "half-open", "pool", "files", "ports"}

// String is the reason's label in metrics.
func (r Reason) String() string { return reasonNames[r] }

// Full reports whether the end of an old flow would help.
func (r Reason) Full() bool { return r >= FlowsFull }

// Quota counts flows against a maximum, of which a quarter may be half-open. The zero Quota allows none.
type Quota struct{ max, flows, halfOpen atomic.Int64 }

// SetMax changes the maximum; existing flows stay.
func (q *Quota) SetMax(n int) { q.max.Store(int64(n)) }

// Max is the maximum number of flows.
func (q *Quota) Max() int { return int(q.max.Load()) }

// Used is the number of flows.
func (q *Quota) Used() int { return int(q.flows.Load()) }

// HalfOpen is the number of half-open flows.
func (q *Quota) HalfOpen() int { return int(q.halfOpen.Load()) }

// used reports whether n of d parts of the flows, or of the half-open ones, are in use.
func (q *Quota) used(n, d int) bool {
	m := q.Max()
	return d*q.Used() >= n*m || d*q.HalfOpen() >= n*(Limits{Flows: m}).HalfOpen()
}

// Budget bounds the flows of several tables together: in all, by source and by prefix. It is safe for concurrent use. Its
// memory is fixed: 32 bytes per flow of setting max-flows and per table, twice.
type Budget struct {
	all      Quota
	key      limit.Key
	mu       sync.Mutex
	limits   Limits
	sources  *limit.Counts
	prefixes *limit.Counts
}

// NewBudget makes a budget.
func NewBudget(l Limits) *Budget {
	b := &Budget{key: limit.NewKey(), limits: l, sources: limit.NewCounts(l.Flows), prefixes: limit.NewCounts(l.Flows)}
	b.all.SetMax(l.Flows)
	return b
}

// Limits returns the limits in force.
func (b *Budget) Limits() Limits {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limits
}

// SetLimits changes the limits; existing flows stay.
func (b *Budget) SetLimits(l Limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limits = l
	b.sources.Grow(l.Flows)
	b.prefixes.Grow(l.Flows)
	b.all.SetMax(l.Flows)
}

// Used is the current number of flows.
func (b *Budget) Used() int { return b.all.Used() }

// enter counts a half-open flow of ip, also against room, and returns its rank: the magnitude of the half-open flows of
// its source, or of an eighth of its prefix. Or it returns the reason against it. A table of which own are half-open may have
// its share although others have used all.
func (b *Budget) enter(ip *[16]byte, room *Quota, own int) (rank int, r Reason) {
	source, prefix := b.keys(ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, p := b.sources.Get(source), b.prefixes.Get(prefix)
	factor := 1
	if !b.all.used(1, 2) && !room.used(1, 2) {
		factor = roomyFactor
	}
	over := func(n uint32, limit int) bool { return limit > 0 && int(n) >= limit*factor }
	switch l := b.limits; {
	case over(s.Flows, l.PerSource):
		return 0, SourceFlows
	case over(s.HalfOpen, l.HalfOpenPerSource):
		return 0, SourceHalfOpen
	case over(p.Flows, l.PerSource*PrefixFactor):
		return 0, PrefixFlows
	case over(p.HalfOpen, l.HalfOpenPerSource*PrefixFactor):
		return 0, PrefixHalfOpen
	case b.all.Used() >= l.Flows:
		return 0, FlowsFull
	case room.Used() >= room.Max():
		return 0, PoolFull
	case full(&b.all, own) || full(room, own):
		return 0, HalfOpenFull
	}
	b.add(source, prefix, room, 1, 1)
	return rankOf(s.HalfOpen, p.HalfOpen), Accepted
}

// full reports whether as many flows of q are half-open as may be, and a table's own share, too. Beyond twice as many a table has
// one: shares of many tables would add up to more than there are flows.
func full(q *Quota, own int) bool {
	most, used := (Limits{Flows: q.Max()}).HalfOpen(), q.HalfOpen()
	return used >= most && own >= max(1, most/ownShare) || used >= 2*most && own >= 1
}

// finish counts a flow of ip as not half-open any more.
func (b *Budget) finish(ip *[16]byte, room *Quota) { b.change(ip, room, 0, -1) }

// leave removes a flow of ip.
func (b *Budget) leave(ip *[16]byte, room *Quota, halfOpen bool) {
	n := 0
	if halfOpen {
		n = -1
	}
	b.change(ip, room, -1, n)
}

func (b *Budget) change(ip *[16]byte, room *Quota, flows, halfOpen int) {
	source, prefix := b.keys(ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(source, prefix, room, flows, halfOpen)
}

// add needs the lock.
func (b *Budget) add(source, prefix uint64, room *Quota, flows, halfOpen int) {
	b.sources.Add(source, flows, halfOpen)
	b.prefixes.Add(prefix, flows, halfOpen)
	for _, q := range []*Quota{&b.all, room} {
		q.flows.Add(int64(flows))
		q.halfOpen.Add(int64(halfOpen))
	}
}

// scarce reports whether three quarters of any limit that applies to ip are used.
func (b *Budget) scarce(ip *[16]byte, room *Quota) bool {
	if b.all.used(3, 4) || room.used(3, 4) {
		return true
	}
	source, prefix := b.keys(ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	s, p, l := b.sources.Get(source), b.prefixes.Get(prefix), b.limits
	near := func(n uint32, limit int) bool { return limit > 0 && 4*int(n) >= 3*limit }
	return near(s.Flows, l.PerSource) || near(s.HalfOpen, l.HalfOpenPerSource) ||
		near(p.Flows, l.PerSource*PrefixFactor) || near(p.HalfOpen, l.HalfOpenPerSource*PrefixFactor)
}

func (b *Budget) keys(ip *[16]byte) (source, prefix uint64) {
	return b.key.Of(limit.Source(ip)), b.key.Of(limit.Prefix(ip))
}
