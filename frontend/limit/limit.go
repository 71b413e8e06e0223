// Package limit bounds what verified sources may do: a botnet with real addresses can do the cookie exchange, so a
// proved address is not a trusted one.
//
// Rates are token buckets in the form of the generic cell rate algorithm: a bucket is one number, the time at which it
// would be full again, so taking a token is one compare-and-swap and nothing needs sweeping. A [Table] of buckets has a
// fixed size; sources with the same bucket share it. Safe for concurrent use; the caller
// brings the clock. [Counts] counts what a source has at the moment.
package limit

import "sync/atomic"

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
func (b *Bucket) Take(r Rate, now int64) bool { return b.TakeAbove(r, 0, now) }

// TakeAbove takes a token if more than keep are there.
func (b *Bucket) TakeAbove(r Rate, keep int, now int64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	cost := int64(1e9 / r.PerSecond)
	depth := cost * int64(max(r.Burst, 1)-keep)
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

// Untake returns a token that is not used because of another limit.
func (b *Bucket) Untake(r Rate) {
	if r.PerSecond > 0 {
		b.full.Add(-int64(1e9 / r.PerSecond))
	}
}

// buckets in a Table. At 8 bytes each that is half a megabyte; with 10 000 sources active at once, one in
// seven shares its bucket.
const buckets = 1 << 16

// Buckets is a bucket for each key, by its keyed hash.
type Buckets struct {
	rate    Rate
	buckets [buckets]Bucket
}

// NewBuckets makes buckets that all have rate r.
func NewBuckets(r Rate) *Buckets { return &Buckets{rate: r} }

// Take takes a token of the bucket of hash at time now.
func (t *Buckets) Take(hash uint64, now int64) bool { return t.bucket(hash).Take(t.rate, now) }

// Untake returns a token.
func (t *Buckets) Untake(hash uint64) { t.bucket(hash).Untake(t.rate) }

func (t *Buckets) bucket(hash uint64) *Bucket { return &t.buckets[hash%buckets] }

// Table is a bucket for each network.
type Table struct {
	key     Key
	v4, v6  int // bytes of a network
	buckets Buckets
}

// NewNetTable makes a table for sources that have not proved their address, by networks: /24 (IPv4) and /56 (IPv6),
// about what one site has.
func NewNetTable(r Rate) *Table {
	return &Table{key: NewKey(), v4: 15, v6: 7, buckets: Buckets{rate: r}}
}

// Take takes a token of ip's network at time now.
func (t *Table) Take(ip *[16]byte, now int64) bool {
	n := t.v6
	if mapped(ip) {
		n = t.v4
	}
	return t.buckets.Take(t.key.Of(ip[:n]), now)
}
