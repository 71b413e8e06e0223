package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// x8 makes 8 compressions side by side. 16 registers hold the states; the message schedule is on the
// stack.
type x8 struct {
	s       [8]VecPhysical // a..h
	w       [16]word
	scratch GPPhysical // 16 words of 32 bytes, aligned
	k       GPPhysical // round constants in loops
	known   *Mem       // the head, if round 0 was done by it

	// Two registers take turns in holding a^b, which is b^c in the next round's majority:
	// maj(a, b, c) = ((a^b) & (b^c)) ^ b.
	ab, bc VecPhysical
}

var (
	yw = Y8 // the scheduled word of the round
	yt = [5]VecPhysical{Y9, Y10, Y11, Y12, Y13}
)

func newX8() *x8 {
	return &x8{s: [8]VecPhysical{Y0, Y1, Y2, Y3, Y4, Y5, Y6, Y7}, scratch: R8, k: RAX, ab: Y14, bc: Y15}
}

// align points scratch at the first 32-byte boundary of the frame.
func (c *x8) align() {
	frame := AllocLocal(16*32 + 32)
	LEAQ(frame.Offset(31), c.scratch)
	ANDQ(I8(-32), c.scratch)
}

func avx2() {
	dst, msg, key, n := GPPhysical(RDI), GPPhysical(RSI), GPPhysical(RDX), GPPhysical(RCX)

	TEXT("sumAVX2", 0, "func(dst *byte, words, key *uint32, groups int)")
	Doc("sumAVX2 writes the cookies of groups times 8 messages, 8 lanes to a group. AVX2.")
	Pragma("noescape")
	c := newX8()
	c.align()
	Load(Param("dst"), dst)
	Load(Param("words"), msg)
	Load(Param("key"), key)
	Load(Param("groups"), n)
	Label("group")
	VMOVDQU(swapWords, yt[0])
	for t := range 14 {
		r := c.s[t%len(c.s)]
		VMOVDQU(Mem{Base: msg, Disp: 32 * t}, r)
		VPSHUFB(yt[0], r, r)
		c.store(r, t)
	}
	c.w[14], c.w[15] = known(0), known(innerLength)
	c.head(key, keyInner, keyInnerHead)
	c.rounds(1, "inner")
	for i, s := range c.s {
		VPBROADCASTD(Mem{Base: key, Disp: keyInner + 4*i}, yt[i%4])
		VPADDD(yt[i%4], s, s)
		c.store(s, i)
		c.w[8+i] = known(outerConstants[i])
	}
	c.head(key, keyOuter, keyOuterHead)
	c.rounds(1, "outer")
	for i, s := range c.s {
		VPBROADCASTD(Mem{Base: key, Disp: keyOuter + 4*i}, yt[i%4])
		VPADDD(yt[i%4], s, s)
	}
	readOut8(dst, key, c.s)
	ADDQ(U32(8*32), dst)
	ADDQ(U32(8*64), msg)
	DECQ(n)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()

	TEXT("compressAVX2", 0, "func(states, words *uint32)")
	Doc("compressAVX2 is 8 plain compressions, for tests: word i of lane l is at 8*i+l.")
	Pragma("noescape")
	c = newX8()
	c.align()
	Load(Param("states"), dst)
	Load(Param("words"), msg)
	for t := range 16 {
		c.w[t].at = Mem{Base: msg, Disp: 32 * t}
	}
	for i, s := range c.s {
		VMOVDQU(Mem{Base: dst, Disp: 32 * i}, s)
	}
	VPXOR(c.s[1], c.s[2], c.bc)
	c.rounds(0, "plain")
	for i, s := range c.s {
		VPADDD(Mem{Base: dst, Disp: 32 * i}, s, s)
		VMOVDQU(s, Mem{Base: dst, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

// store puts a word of the schedule on the stack.
func (c *x8) store(r VecPhysical, i int) {
	at := Mem{Base: c.scratch, Disp: 32 * (i & 15)}
	VMOVDQA(r, at)
	c.w[i&15] = word{at: at}
}

// head is round 0 with a state that all lanes share.
func (c *x8) head(key Register, state, head int) {
	for i := range 6 { // what becomes b..d and f, g; the last h is in the head already
		if i != 3 {
			VPBROADCASTD(Mem{Base: key, Disp: state + 4*i}, c.s[i])
		}
	}
	VPBROADCASTD(Mem{Base: key, Disp: head + headA}, c.s[7])
	VPADDD(c.w[0].at, c.s[7], c.s[7])
	VPBROADCASTD(Mem{Base: key, Disp: head + headE}, c.s[3])
	VPADDD(c.w[0].at, c.s[3], c.s[3])
	c.turn()
	VPXOR(c.s[1], c.s[2], c.bc)
	c.known = &Mem{Base: key, Disp: head}
}

// turn renames the registers for the next round: h is the new a, everything else moves down.
func (c *x8) turn() {
	h := c.s[7]
	copy(c.s[1:], c.s[:7])
	c.s[0] = h
}

// rounds does the rounds from the given one to 63, the second 32 as a loop of 16 like evex.
func (c *x8) rounds(from int, name string) {
	for t := from; t < 32; t++ {
		if t >= 16 {
			c.schedule(t)
		}
		c.round(t, nil)
	}
	LEAQ(roundTable.Offset(4*32), c.k)
	Label(name)
	for t := 32; t < 48; t++ {
		c.schedule(t)
		c.round(t, &Mem{Base: c.k, Disp: 4 * (t - 32)})
	}
	ADDQ(Imm(4*16), c.k)
	last := GPPhysical(RBX)
	LEAQ(roundTable.Offset(4*64), last)
	CMPQ(c.k, last)
	JNE(LabelRef(name))
}

func (c *x8) round(t int, constant *Mem) {
	a, b, d, e, f, g, h := c.s[0], c.s[1], c.s[3], c.s[4], c.s[5], c.s[6], c.s[7]
	w := c.w[t&15]
	var word Op = yw // schedule left it there
	if t < 16 {
		word = w.at
	}
	switch k := roundTable.Offset(4 * t); {
	case c.known != nil && t < 4:
		VPBROADCASTD(c.known.Offset(headH1+4*(t-1)), h)
		VPADDD(word, h, h)
	case w.known:
		VPBROADCASTD(fold(w.value+k256[t]), yt[0])
		VPADDD(yt[0], h, h)
	default:
		if constant != nil {
			k = *constant
		}
		VPBROADCASTD(k, yt[0])
		VPADDD(word, yt[0], yt[0])
		VPADDD(yt[0], h, h)
	}
	ySigma(e, yt[1], yt[2], 6, 11, 25)
	VPXOR(f, g, yt[3])
	VPAND(e, yt[3], yt[3])
	VPXOR(g, yt[3], yt[3])
	VPADDD(yt[3], h, h)
	VPADDD(yt[1], h, h)
	VPADDD(h, d, d)
	ySigma(a, yt[1], yt[2], 2, 13, 22)
	VPXOR(a, b, c.ab)
	VPAND(c.ab, c.bc, yt[4])
	VPXOR(b, yt[4], yt[4])
	VPADDD(yt[4], h, h)
	VPADDD(yt[1], h, h)
	c.ab, c.bc = c.bc, c.ab
	c.turn()
}

// ySigma leaves the xor of rotations of x in to. AVX2 rotates by two shifts.
func ySigma(x, to, tmp VecPhysical, rotations ...uint8) {
	for i, r := range rotations {
		right := tmp
		if i == 0 {
			right = to
		}
		VPSRLD(U8(r), x, right)
		if i > 0 {
			VPXOR(tmp, to, to)
		}
		VPSLLD(U8(32-r), x, tmp)
		VPXOR(tmp, to, to)
	}
}

// schedule makes w[t], on the stack and in yw. In both blocks it has a term that is not known for all t.
func (c *x8) schedule(t int) {
	s := split(&c.w, t)
	var add []Op
	if s.w15 != nil {
		VMOVDQU(s.w15, yt[0])
		ySigma(yt[0], yw, yt[1], 7, 18)
		VPSRLD(U8(3), yt[0], yt[1])
		VPXOR(yt[1], yw, yw)
		add = append(add, yw)
	}
	if s.w2 != nil {
		VMOVDQU(s.w2, yt[2])
		ySigma(yt[2], yt[3], yt[4], 17, 19)
		VPSRLD(U8(10), yt[2], yt[4])
		VPXOR(yt[4], yt[3], yt[3])
		add = append(add, yt[3])
	}
	if s.sum != 0 {
		VPBROADCASTD(fold(s.sum), yt[1])
		add = append(add, yt[1])
	}
	for _, x := range []Op{s.w16, s.w7} {
		if x != nil {
			add = append(add, x)
		}
	}
	sum := add[0]
	for _, x := range add[1:] {
		VPADDD(x, sum, yw)
		sum = yw
	}
	c.store(yw, t)
}
