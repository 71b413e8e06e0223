package cookie

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
	words      []uint32 // 16 a lane
	cookies    [][Size]byte
}

// perCall is how many messages one call into assembly computes at most. Assembly cannot be preempted, and
// goroutines, the garbage collector's too, wait for it: 128 stay under 50 us at up to 390 ns each.
const perCall = 128

// NewBatch makes a batch of at most capacity lanes, for the plan that [Measured] found; nothing is allocated
// after that.
func NewBatch(capacity int) *Batch { return Measured().NewBatch(capacity) }

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
}

// Len is the number of lanes filled.
func (b *Batch) Len() int { return b.n }

// Add fills the next lane with in's message and returns its number. The caller keeps to what it told Reset.
func (b *Batch) Add(in *Binding) int {
	i := b.n
	lanes, at := b.main.lanes, i
	base := 0
	if i >= b.split {
		lanes, at, base = b.tail.lanes, i-b.split, b.split*messageWords
	}
	lane := at & (lanes - 1)
	w := b.words[base+(at-lane)*messageWords+lane:]
	switch lanes {
	case 1:
		in.put1(w)
	case 8:
		in.put8(w)
	case 16:
		in.put16(w)
	}
	b.n++
	return i
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
		by.sum(b.cookies[from:end], b.words[from*messageWords:end*messageWords], &k.prepared, groups)
	}
}

// Cookie writes the cookie of a lane that Sum computed.
func (b *Batch) Cookie(lane int, dst *[Size]byte) { *dst = b.cookies[lane] }

// Equal reports, in constant time, whether c is the cookie of a lane that Sum computed.
func (b *Batch) Equal(lane int, c []byte) bool { return equal(&b.cookies[lane], c) }
