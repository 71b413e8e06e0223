package addresses

import (
	"fmt"
	"sync/atomic"

	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// Engage says when clients that have not proved their address are challenged.
type Engage uint8

// The values of Engage.
const (
	Always Engage = iota
	Load          // while their ClientHellos are above the rate
)

var engageNames = [...]string{"always", "load"}

// String is the name in --engage.
func (e Engage) String() string { return engageNames[e] }

// ParseEngage reads it.
func ParseEngage(s string) (Engage, error) {
	for e, name := range engageNames {
		if s == name {
			return Engage(e), nil
		}
	}
	return 0, fmt.Errorf("%q: want always or load", s)
}

// Outcome is the decision on a first ClientHello.
type Outcome uint8

// The outcomes.
const (
	Challenge Outcome = iota // its address has not proved itself
	Known                    // it has, or is allowed
	Unproved                 // it has not, but is within the rate
	Denied
	Limited // it has not, and there is no way to prove it
)

// Policy of a gate.
type Policy struct {
	Engage Engage
	Rate   limit.Rate // of unproved ClientHellos that pass, all together
	// Challenged: with Load, only ClientHellos come that the XDP programs have decided to challenge: their rate is used up.
	Challenged bool
}

// Calm is for how many nanoseconds unproved ClientHellos must have stayed within the rate before challenges end.
const Calm = 10e9

// Shares divides the rate among prefixes: no /24 (IPv4) or /56 (IPv6) gets more than one of Shares parts.
const Shares = 5

// Gate decides on the first ClientHellos of one service. Safe for concurrent use.
type Gate struct {
	Set     *Set
	Table   *atomic.Pointer[Table]
	policy  Policy
	all     limit.Bucket
	nets    *limit.Table
	until   atomic.Int64 // when challenges end, in the caller's nanoseconds
	engaged atomic.Uint64
}

// NewGate makes a gate that asks set and table.
func NewGate(set *Set, table *atomic.Pointer[Table], p Policy) *Gate {
	return &Gate{Set: set, Table: table, policy: p, nets: limit.NewNetTable(p.Share())}
}

// Share is the rate of one prefix.
func (p *Policy) Share() limit.Rate {
	return limit.Rate{PerSecond: p.Rate.PerSecond / Shares, Burst: max(1, p.Rate.Burst/Shares)}
}

// Admit decides on a ClientHello without a cookie from ip, at time now, in nanoseconds: a client that has not
// proved its address is challenged, with Load only above the rate.
func (g *Gate) Admit(ip *[16]byte, now int64) Outcome {
	switch o := g.known(ip, now); {
	case o != Challenge:
		return o
	case g.policy.Engage == Always, g.policy.Challenged, !g.within(ip, now), g.Engaged(now):
		return Challenge
	}
	return Unproved
}

// Limit decides for servers whose clients cannot be challenged: a client that has not proved its address is dropped above the rate.
func (g *Gate) Limit(ip *[16]byte, now int64) Outcome {
	switch o := g.known(ip, now); {
	case o != Challenge:
		return o
	case !g.within(ip, now):
		return Limited
	}
	return Unproved
}

func (g *Gate) known(ip *[16]byte, now int64) Outcome {
	switch v := g.Table.Load().Of(ip); {
	case v == Deny:
		return Denied
	case v == Allow || g.Set.Has(ip, Seconds(now)):
		return Known
	}
	return Challenge
}

// within takes a token of the prefix and one of the rate. One prefix above its share is not a reason to challenge
// the others.
func (g *Gate) within(ip *[16]byte, now int64) bool {
	if !g.nets.Take(ip, now) {
		return false
	}
	if !g.all.Take(g.policy.Rate, now) {
		g.engage(now)
		return false
	}
	return true
}

// engage starts or extends challenging.
func (g *Gate) engage(now int64) {
	if until := g.until.Load(); now+Calm > until && g.until.CompareAndSwap(until, now+Calm) && until <= now {
		g.engaged.Add(1)
	}
}

// Engaged reports whether ClientHellos have been above the rate, until Calm before now.
func (g *Gate) Engaged(now int64) bool { return now < g.until.Load() }

// Always reports whether the gate challenges whatever the rate.
func (g *Gate) Always() bool { return g.policy.Engage == Always }

// Times is how often they went above it.
func (g *Gate) Times() uint64 { return g.engaged.Load() }

// Prove notes that ip has proved its address. mark is that of Set.Add, and so is the result.
func (g *Gate) Prove(ip *[16]byte, mark uint32, now int64) bool {
	return g.Set.Add(ip, mark, Seconds(now))
}

// Keep notes that a client at ip is in an association, for which it has proved its address.
func (g *Gate) Keep(ip *[16]byte, now int64) {
	if s := Seconds(now); g.Set.Has(ip, s) {
		g.Set.Refresh(ip, s)
	} else {
		g.Set.Add(ip, 0, s)
	}
}

// Seconds is a time of nanoseconds as a Set counts it.
func Seconds(now int64) uint32 { return uint32(now / 1e9) }
