package limit

import "math/bits"

// Count is how many flows a key has, and how many of those are half-open.
type Count struct{ Flows, HalfOpen uint32 }

// Counts counts flows by the hash of their owner, in memory that is allocated once: a hash table with
// linear probing. Two keys collide only if their 64-bit SipHash does. Not for concurrent use.
type Counts struct {
	entries []entry
	mask    uint64
	used    int
}

type entry struct {
	key   uint64 // never 0 if the entry is in use
	count Count
}

// NewCounts makes room for as many keys as there can be flows, at 16 bytes for each half of a slot: so the table is never
// more than half full and a search is short.
func NewCounts(flows int) *Counts {
	n := uint64(1) << bits.Len(uint(max(2*flows-1, 1)))
	return &Counts{entries: make([]entry, n), mask: n - 1}
}

// Get is a key's count.
func (c *Counts) Get(key uint64) Count { return c.entries[c.find(key|1)].count }

// Add changes a key's count by d; it reports false, and changes nothing, if there is no room.
func (c *Counts) Add(key uint64, flows, halfOpen int) bool {
	key |= 1
	i := c.find(key)
	e := &c.entries[i]
	if e.key == 0 {
		if flows < 0 || halfOpen < 0 {
			return true // what was not counted for lack of room is not subtracted either
		}
		if 2*c.used >= len(c.entries) {
			return false
		}
		e.key = key
		c.used++
	}
	e.count.Flows += uint32(flows)
	e.count.HalfOpen += uint32(halfOpen)
	if e.count == (Count{}) {
		c.remove(i)
	}
	return true
}

// find returns where key is, or would be.
func (c *Counts) find(key uint64) uint64 {
	i := key >> 1 & c.mask
	for c.entries[i].key != 0 && c.entries[i].key != key {
		i = (i + 1) & c.mask
	}
	return i
}

// remove empties entry i and moves those up that the gap would hide (Knuth, volume 3, section 6.4, algorithm R).
func (c *Counts) remove(i uint64) {
	c.used--
	for j := i; ; {
		c.entries[i] = entry{}
		for {
			j = (j + 1) & c.mask
			if c.entries[j].key == 0 {
				return
			}
			home := c.entries[j].key >> 1 & c.mask
			if (j-home)&c.mask >= (j-i)&c.mask { // i lies between its home and j
				break
			}
		}
		c.entries[i] = c.entries[j]
		i = j
	}
}

// Grow makes room for as many keys as there can be flows, if there is less.
func (c *Counts) Grow(flows int) {
	if 2*flows <= len(c.entries) {
		return
	}
	old := c.entries
	*c = *NewCounts(flows)
	for _, e := range old {
		if e.key != 0 {
			c.Add(e.key, int(e.count.Flows), int(e.count.HalfOpen))
		}
	}
}
