// Package limit bounds how often verified sources may start handshakes: a botnet with real addresses can do
// the cookie exchange, so a proved address is not a good one.
//
// The bound is a token bucket in the form of the generic cell rate algorithm: a bucket is one number, the time
// at which it would be full again, so taking a token is one compare-and-swap and nothing ever needs sweeping.
// A [Table] is of fixed size whatever is sent at it; sources that fall on the same bucket share it. Safe for
// concurrent use; the caller brings the clock.
package limit

import (
	"hash/maphash"
	"sync/atomic"
)

// Rate is a number of tokens per second, and how many may be taken at once after a pause. A PerSecond of 0
// means no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Bucket is one token bucket. The zero Bucket is full.
type Bucket struct{ full atomic.Int64 } // nanoseconds of the caller's clock

// Take takes a token at time now, in nanoseconds of any clock that never goes back, and reports whether there
// was one.
func (b *Bucket) Take(r Rate, now int64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	cost := int64(1e9 / r.PerSecond)
	depth := cost * int64(max(r.Burst, 1))
	for {
		full := b.full.Load()
		next := max(full, now) + cost
		if next-now > depth {
			return false
		}
		if b.full.CompareAndSwap(full, next) {
			return true
		}
	}
}

// buckets in a Table. At 8 bytes each that is half a megabyte; with 10 000 sources active at once, one in
// seven shares its bucket.
const buckets = 1 << 16

// Table is a bucket for each source prefix, by hash.
type Table struct {
	seed    maphash.Seed // secret: an attacker cannot choose whose bucket he shares
	rate    Rate
	v4, v6  int // bytes of a prefix
	buckets [buckets]Bucket
}

// NewTable makes a table whose buckets all have rate r.
func NewTable(r Rate) *Table { return &Table{seed: maphash.MakeSeed(), rate: r, v4: 16, v6: 8} }

// NewNetTable makes a table for sources that have not proved their address, by networks: /24 (IPv4) and /56 (IPv6),
// about what one site has.
func NewNetTable(r Rate) *Table { return &Table{seed: maphash.MakeSeed(), rate: r, v4: 15, v6: 7} }

// Take takes a token of ip's prefix at time now: of NewTable the address (IPv4, as v4-mapped) or its /64, which is what
// one host can pick from.
func (t *Table) Take(ip *[16]byte, now int64) bool {
	prefix := ip[:t.v6]
	if [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff} {
		prefix = ip[:t.v4]
	}
	return t.buckets[maphash.Bytes(t.seed, prefix)%buckets].Take(t.rate, now)
}
