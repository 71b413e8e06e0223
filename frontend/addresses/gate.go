package addresses

import (
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// Engage says when those who have not proved their address are challenged.
type Engage uint8

// The ways there are.
const (
	Always Engage = iota
	Load          // while their ClientHellos are more than the rate
)

// Outcome is what becomes of a first ClientHello.
type Outcome uint8

// The outcomes.
const (
	Challenge Outcome = iota // its address has not proved itself
	Known                    // it has, or is allowed
	Unproved                 // it has not, but is within the rate
	Denied
	Limited // it has not, and nothing could prove it
)

// Policy of a gate.
type Policy struct {
	Engage Engage
	Rate   limit.Rate // of unproved ClientHellos that pass, all together
	Limit  bool       // those above the rate are dropped: there is no challenge
}

// Calm is for how many nanoseconds unproved ClientHellos must have stayed within the rate before challenges end.
const Calm = 10e9

// Shares is how many prefixes the rate is enough for: no /24 (IPv4) or /56 (IPv6) gets more than its part.
const Shares = 5

// Gate decides on the first ClientHellos of one service. Safe for concurrent use.
type Gate struct {
	Set     *Set
	Table   *atomic.Pointer[Table]
	policy  Policy
	all     limit.Bucket
	nets    *limit.Table // nil: nothing unproved passes
	until   atomic.Int64 // when challenges end, in the caller's nanoseconds
	engaged atomic.Uint64
}

// NewGate makes a gate that asks set and table.
func NewGate(set *Set, table *atomic.Pointer[Table], p Policy) *Gate {
	g := &Gate{Set: set, Table: table, policy: p}
	if p.Limit || p.Engage == Load {
		g.nets = limit.NewNetTable(p.Share())
	}
	return g
}

// Share is the rate of one prefix.
func (p *Policy) Share() limit.Rate {
	return limit.Rate{PerSecond: p.Rate.PerSecond / Shares, Burst: max(1, p.Rate.Burst/Shares)}
}

// Admit decides on a ClientHello without a cookie from ip, at time now, in nanoseconds.
func (g *Gate) Admit(ip *[16]byte, now int64) Outcome {
	switch v := g.Table.Load().Of(ip); {
	case v == Deny:
		return Denied
	case v == Allow || g.Set.Has(ip, Seconds(now)):
		return Known
	case g.nets == nil:
		return Challenge
	}
	// One prefix above its share is no reason to challenge the others.
	if !g.nets.Take(ip, now) {
		return g.refuse()
	}
	if !g.all.Take(g.policy.Rate, now) {
		g.engage(now)
		return g.refuse()
	}
	if !g.policy.Limit && g.Engaged(now) {
		return Challenge
	}
	return Unproved
}

func (g *Gate) refuse() Outcome {
	if g.policy.Limit {
		return Limited
	}
	return Challenge
}

// engage begins or goes on challenging.
func (g *Gate) engage(now int64) {
	if until := g.until.Load(); now+Calm > until && g.until.CompareAndSwap(until, now+Calm) && until <= now {
		g.engaged.Add(1)
	}
}

// Engaged reports whether all who have not proved their address are challenged at time now, or dropped above the rate.
func (g *Gate) Engaged(now int64) bool {
	if !g.policy.Limit && g.policy.Engage == Always {
		return true
	}
	return now < g.until.Load()
}

// Times is how often challenges began.
func (g *Gate) Times() uint64 { return g.engaged.Load() }

// Prove notes that ip has proved its address. mark is that of Set.Add, and so is the result.
func (g *Gate) Prove(ip *[16]byte, mark uint32, now int64) bool {
	return g.Set.Add(ip, mark, Seconds(now))
}

// Seconds is a time of nanoseconds as a Set counts it.
func Seconds(now int64) uint32 { return uint32(now / 1e9) }
