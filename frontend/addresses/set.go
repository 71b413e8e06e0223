package addresses

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"unsafe"

	"github.com/dchest/siphash"
)

const (
	// DefaultSize is how many addresses a Set holds: 1 MiB, and more clients than one server has at a time.
	DefaultSize = 1 << 16
	// ways is how many addresses share a bucket. The least recently seen one goes first.
	ways = 8
	// bucketSize is that of struct address_bucket of the XDP programs, in bytes.
	bucketSize = ways * int(unsafe.Sizeof(entry{}))
)

// entry is one address, laid out as struct address of the XDP programs. Writers may interleave: each writes a proved
// key, so any mixture is a proved key.
type entry struct {
	key   atomic.Uint64
	state atomic.Uint64 // when it was last seen, in seconds, above 32 bits of a mark; 0: none
}

// Set holds proved addresses: IPv4 addresses and IPv6 /64s, which is what one host can choose
// from. Its size is fixed, and it forgets an address that is not seen for its lifetime. XDP programs and all workers
// share one. Safe for concurrent use.
type Set struct {
	buckets  [][ways]entry
	shift    uint
	key      [2]uint64 // secret, so that nobody can choose to share another's bucket
	lifetime uint32    // seconds
}

// NewSet makes a set in memory of this process.
func NewSet(key [2]uint64, lifetime uint32) *Set {
	return &Set{buckets: make([][ways]entry, DefaultSize/ways), shift: 64 - 13, key: key, lifetime: lifetime}
}

// SetOf takes mapped memory of DefaultSize entries, which is aligned to pages, for a set.
func SetOf(memory []byte, key [2]uint64, lifetime uint32) *Set {
	s := &Set{shift: 64 - 13, key: key, lifetime: lifetime}
	s.buckets = unsafe.Slice((*[ways]entry)(unsafe.Pointer(unsafe.SliceData(memory))), DefaultSize/ways)
	_ = memory[DefaultSize/ways*bucketSize-1]
	return s
}

// keyOf returns the part of an address that counts. IPv4 gets keys of IPv6 multicast, which no datagram comes from.
func keyOf(ip *[16]byte) uint64 {
	if mapped(ip) {
		return 0xffffffff<<32 | uint64(binary.BigEndian.Uint32(ip[12:]))
	}
	return binary.BigEndian.Uint64(ip[:])
}

func mapped(ip *[16]byte) bool { return [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff} }

// prefixOf undoes keyOf.
func prefixOf(key uint64) netip.Prefix {
	var b [16]byte
	if key>>32 == 0xffffffff {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(key)))), 32)
	}
	binary.BigEndian.PutUint64(b[:], key)
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// bucket is where key is looked for. The programs hash three words. The /64s of an IPv6 /48, the most that one site is
// assigned (RFC 6177), share 64 buckets: who has one can displace one address in 128, and not all of them. Bits 8 to 13
// spread those of customers with a /56 each.
func (s *Set) bucket(key uint64) *[ways]entry {
	const site = 64
	var b [24]byte
	spread := uint64(0)
	if key>>32 == 0xffffffff {
		binary.LittleEndian.PutUint64(b[:], key)
	} else {
		binary.LittleEndian.PutUint64(b[:], key>>16)
		spread = (key ^ key>>8) % site
	}
	return &s.buckets[siphash.Hash(s.key[0], s.key[1], b[:])>>s.shift^spread]
}

// fresh reports whether state was seen within the lifetime. Clocks of CPUs may differ by a second, so an address can
// have been seen in the future.
func (s *Set) fresh(state uint64, now uint32) bool {
	age := int32(now - uint32(state>>32))
	return state != 0 && age < int32(s.lifetime)
}

// Has reports whether ip has proved itself, at time now, in seconds.
func (s *Set) Has(ip *[16]byte, now uint32) bool {
	e := s.find(keyOf(ip))
	return e != nil && s.fresh(e.state.Load(), now)
}

func (s *Set) find(key uint64) *entry {
	b := s.bucket(key)
	for i := range b {
		if b[i].key.Load() == key && b[i].state.Load() != 0 {
			return &b[i]
		}
	}
	return nil
}

// Add records that ip is proved. mark is any number that says how; Add reports whether ip was new or had another
// mark.
func (s *Set) Add(ip *[16]byte, mark, now uint32) bool {
	key := keyOf(ip)
	state := uint64(now)<<32 | uint64(mark)
	if e := s.find(key); e != nil {
		return uint32(e.state.Swap(max(state, 1))) != mark
	}
	b := s.bucket(key)
	oldest, age := &b[0], int32(-1<<31)
	for i := range b {
		e := b[i].state.Load()
		if e == 0 {
			oldest = &b[i]
			break
		}
		if a := int32(now - uint32(e>>32)); a > age {
			oldest, age = &b[i], a
		}
	}
	oldest.state.Store(0) // so that no reader sees the key with another one's time
	oldest.key.Store(key)
	oldest.state.Store(max(state, 1))
	return true
}

// Refresh keeps ip for another lifetime, if it is there.
func (s *Set) Refresh(ip *[16]byte, now uint32) {
	e := s.find(keyOf(ip))
	if e == nil {
		return
	}
	if old := e.state.Load(); s.fresh(old, now) && uint32(old>>32) != now {
		e.state.CompareAndSwap(old, uint64(now)<<32|old&(1<<32-1))
	}
}

// Remove forgets the addresses in p and returns their number.
func (s *Set) Remove(p netip.Prefix) (n int) {
	for i := range s.buckets {
		for j := range s.buckets[i] {
			e := &s.buckets[i][j]
			if e.state.Load() != 0 && p.Overlaps(prefixOf(e.key.Load())) {
				e.state.Store(0)
				n++
			}
		}
	}
	return n
}

// Address is an address of a set.
type Address struct {
	Prefix netip.Prefix
	Age    uint32 // seconds since it was last seen
}

// All calls yield for each address that has proved itself at time now, until it returns false.
func (s *Set) All(now uint32) func(yield func(Address) bool) {
	return func(yield func(Address) bool) {
		for i := range s.buckets {
			for j := range s.buckets[i] {
				e := &s.buckets[i][j]
				state := e.state.Load()
				if s.fresh(state, now) && !yield(Address{prefixOf(e.key.Load()), uint32(max(0, int32(now-uint32(state>>32))))}) {
					return
				}
			}
		}
	}
}

// Len is the number of addresses.
func (s *Set) Len(now uint32) (n int) {
	for range s.All(now) {
		n++
	}
	return n
}

// Lifetime is for how many seconds an address is kept that is not seen.
func (s *Set) Lifetime() uint32 { return s.lifetime }
