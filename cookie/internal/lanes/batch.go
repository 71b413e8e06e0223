package lanes

import "encoding/binary"

// Batch computes many cookies under one key. Its lanes are filled while packets are parsed, computed once,
// and read out into the packets being built. Not for concurrent use.
//
// The messages lie in memory as the implementation wants them that will compute them, so that nothing is
// copied or transposed on the way: the first ones for the plan's main implementation, what is left over for
// the one that is fastest for so few.
type Batch struct {
	plan       *Plan
	main, tail *implementation
	split      int // lanes below it are laid out for main, the others for tail
	n          int
	lanes      int      // layout of the next lane: see implementation
	next       int      // where its first word goes
	words      []uint32 // 16 per lane
	cookies    [][Size]byte
}

// perCall is how many messages one call into assembly computes at most. Assembly cannot be preempted, and
// goroutines, the garbage collector's too, wait for it: 128 stay under 50 us at up to 390 ns each.
const perCall = 128

// NewBatch makes a batch of at most capacity lanes; nothing is allocated after that.
func (p *Plan) NewBatch(capacity int) *Batch {
	// Whole groups, because kernels read and write whole groups. Sizes from 1 KiB up come from the allocator
	// at a cache line's start, which wide loads like and none needs.
	capacity = (capacity + maxWidth - 1) / maxWidth * maxWidth
	b := &Batch{plan: p, words: make([]uint32, capacity*messageWords), cookies: make([][Size]byte, capacity)}
	b.Reset(capacity)
	return b
}

// Reset empties the batch and makes it ready for at most n messages, n as near as the caller knows it.
func (b *Batch) Reset(n int) {
	b.n = 0
	b.main = b.plan.main
	over := n % b.main.width
	b.tail = b.plan.tail[over]
	b.split = n - over
	if b.tail == b.main && over > 0 {
		b.split += b.main.width
	}
	b.next, b.lanes = 0, b.main.lanes
	if b.split == 0 {
		b.lanes = b.tail.lanes
	}
}

// Len is the number of lanes filled.
func (b *Batch) Len() int { return b.n }

// Add fills the next lane with in's message and returns its number. The caller keeps to what it told Reset.
func (b *Batch) Add(in *Message) int {
	i := b.n
	b.n = i + 1
	switch b.lanes {
	case 1:
		in.pack1((*words1)(b.words[b.next:]))
		b.next += messageWords
	case 8:
		in.pack8((*words8)(b.words[b.next:]))
		b.next = step(b.next, 8)
	case 16:
		in.pack16((*words16)(b.words[b.next:]))
		b.next = step(b.next, 16)
	}
	if b.n == b.split {
		b.lanes = b.tail.lanes
	}
	return i
}

// step moves on from where a lane's first word is, among so many lanes, to the next.
func step(at, lanes int) int {
	at++
	if at&(lanes-1) == 0 {
		at += (messageWords - 1) * lanes
	}
	return at
}

// Sum computes all lanes under k.
func (b *Batch) Sum(k *Key) {
	wide := min(b.n, b.split)
	b.sum(b.main, 0, wide, k)
	b.sum(b.tail, wide, b.n, k)
}

func (b *Batch) sum(by *implementation, from, to int, k *Key) {
	for ; from < to; from += perCall {
		groups := (min(to-from, perCall) + by.width - 1) / by.width
		end := from + groups*by.width
		by.sum(b.cookies[from:end], b.words[from*messageWords:end*messageWords], k, groups)
	}
}

// Cookie writes the cookie of a lane that Sum computed.
func (b *Batch) Cookie(lane int, dst *[Size]byte) { *dst = b.cookies[lane] }

// Equal reports, in constant time, whether c is the cookie of a lane that Sum computed.
func (b *Batch) Equal(lane int, c []byte) bool { return Equal(&b.cookies[lane], c) }

// Equal compares without a branch on the contents.
func Equal(want *[Size]byte, got []byte) bool {
	if len(got) != Size {
		return false
	}
	var d uint64
	for i := 0; i < Size; i += 8 {
		d |= binary.LittleEndian.Uint64(want[i:]) ^ binary.LittleEndian.Uint64(got[i:])
	}
	return d == 0
}
