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
	// most is the number of prefixes reported; leastShare the share and least the number of samples above which one is not chance.
	most         = 10
	leastShare   = 0.01
	leastSamples = 4
)

// Key is the part of an address that a Sketch counts, its /24 or /48.
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

// Bucket is one of a sketch: an MV-Sketch of one row (Tang, Huang and Lee, INFOCOM 2019). Its candidate is the key with
// the majority, if there is one.
type Bucket struct{ Key, Total, Count uint64 }

// Sketch counts samples of one worker's datagrams. Due and Take belong to the worker; the rest is safe for concurrent use.
type Sketch struct {
	skip    uint32
	random  rand.PCG
	seed    [2]uint64
	forget  atomic.Bool
	buckets [buckets]struct{ key, total, count atomic.Uint64 }
}

// NewSketch makes a sketch. The seed is secret, so that nobody can choose to share another's bucket.
func NewSketch(seed [2]uint64) *Sketch {
	s := &Sketch{seed: seed}
	s.random.Seed(seed[0], seed[1])
	return s
}

// Due reports whether a datagram is to be sampled, which is true for one in SampleEvery calls.
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

// Forget makes the sketch start over with its next sample.
func (s *Sketch) Forget() { s.forget.Store(true) }

// Buckets returns the buckets in use.
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

// Part is the content of one sketch.
type Part struct {
	Buckets []Bucket
	Each    float64 // datagrams that a sample stands for
}

// Samples is the number of samples in buckets.
func Samples(list []Bucket) (n uint64) {
	for _, b := range list {
		n += b.Total
	}
	return n
}

// Top returns the prefixes of most datagrams in any number of sketches.
func Top(parts []Part) Prefixes {
	type sum struct {
		samples   uint64
		datagrams float64
	}
	keys, all := make(map[Key]sum), 0.0
	for _, p := range parts {
		all += p.Each * float64(Samples(p.Buckets))
		for _, b := range p.Buckets {
			n := (b.Total + min(b.Count, b.Total)) / 2 // as many as the candidate had, at most
			s := keys[Key(b.Key)]
			keys[Key(b.Key)] = sum{s.samples + n, s.datagrams + p.Each*float64(n)}
		}
	}
	var top Prefixes
	for k, s := range keys {
		if share := s.datagrams / all; share >= leastShare && s.samples >= leastSamples {
			top = append(top, Prefix{k.Prefix(), share, uint64(s.datagrams)})
		}
	}
	slices.SortFunc(top, func(a, b Prefix) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return top[:min(len(top), most)]
}
