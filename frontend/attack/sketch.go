package attack

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
)

const (
	// buckets of a Sketch, 6 KiB: a prefix of a hundredth of a flood shares its bucket with four thousandths of the rest.
	buckets    = 256
	bucketBits = 8
	// skipMask + 1 is the longest gap between two samples, drawn at random so that no sender can keep step with them.
	skipMask = 127
	// SampleEvery is how many datagrams a sample stands for: the mean gap.
	SampleEvery = float64(skipMask+1)/2 + 0.5
	// most and leastShare: of how many prefixes people are told, and of which share on one is more than chance.
	most       = 10
	leastShare = 0.01
)

// Key is what of an address a Sketch counts, its /24 or /48, below marks of its owner.
type Key uint64

// sixth marks a key of IPv6.
const sixth Key = 1 << 48

// KeyOf is the key of an address, IPv4 as v4-mapped.
func KeyOf(ip *[16]byte) Key {
	if [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff} {
		return Key(binary.BigEndian.Uint32(ip[12:]) >> 8)
	}
	return sixth | Key(binary.BigEndian.Uint64(ip[:])>>16)
}

// Prefix undoes KeyOf.
func (k Key) Prefix() netip.Prefix {
	var b [16]byte
	if k&sixth == 0 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(k >> 16), byte(k >> 8), byte(k)}), 24)
	}
	binary.BigEndian.PutUint64(b[:], uint64(k)<<16)
	return netip.PrefixFrom(netip.AddrFrom16(b), 48)
}

// Bucket is one of a sketch: an MV-Sketch of one row (Tang, Huang and Lee, INFOCOM 2019). Its candidate is the key that has
// the majority, if one has it.
type Bucket struct{ Key, Total, Count uint64 }

// Sketch counts samples of one worker's datagrams. Sampling belongs to the worker; all else may be called from anywhere.
type Sketch struct {
	skip    uint32
	random  rand.PCG
	seed    [2]uint64
	forget  atomic.Bool
	buckets [buckets]struct{ key, total, count atomic.Uint64 }
}

// NewSketch makes a sketch. Seed is secret, so that nobody can choose whose bucket he shares.
func NewSketch(seed [2]uint64) *Sketch {
	s := &Sketch{seed: seed}
	s.random.Seed(seed[0], seed[1])
	return s
}

// Due reports for one in SampleEvery of the datagrams that it is called for that it is to be sampled.
func (s *Sketch) Due() bool {
	if s.skip > 0 {
		s.skip--
		return false
	}
	return true
}

// Take adds a sample that is due, which comes from ip. The worker alone writes, so what it loads is what it stored.
func (s *Sketch) Take(ip *[16]byte) {
	s.skip = uint32(s.random.Uint64()) & skipMask
	if s.forget.Load() {
		s.forget.Store(false)
		for i := range s.buckets {
			s.buckets[i].total.Store(0)
			s.buckets[i].count.Store(0)
		}
	}
	key := uint64(KeyOf(ip))
	b := &s.buckets[(key^s.seed[0])*(s.seed[1]|1)>>(64-bucketBits)]
	b.total.Store(b.total.Load() + 1)
	count := b.count.Load()
	switch {
	case b.key.Load() == key:
		b.count.Store(count + 1)
	case count == 0:
		b.key.Store(key)
		b.count.Store(1)
	default:
		b.count.Store(count - 1)
	}
}

// Forget has the sketch begin anew with its next sample.
func (s *Sketch) Forget() { s.forget.Store(true) }

// Buckets are those that have something.
func (s *Sketch) Buckets() (list []Bucket) {
	if s.forget.Load() {
		return nil
	}
	for i := range s.buckets {
		b := &s.buckets[i]
		if n := b.total.Load(); n > 0 {
			list = append(list, Bucket{b.key.Load(), n, b.count.Load()})
		}
	}
	return list
}

// Top are the prefixes of most samples in buckets of any number of sketches.
func Top(list []Bucket) Prefixes {
	samples := make(map[Key]uint64)
	var all uint64
	for _, b := range list {
		all += b.Total
		samples[Key(b.Key)] += (b.Total + min(b.Count, b.Total)) / 2 // as many as the candidate had, at most
	}
	var top Prefixes
	for k, n := range samples {
		if share := float64(n) / float64(all); share >= leastShare && n > 1 {
			top = append(top, Prefix{k.Prefix(), share, uint64(float64(n) * SampleEvery)})
		}
	}
	slices.SortFunc(top, func(a, b Prefix) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return top[:min(len(top), most)]
}
