package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Truth tables of VPTERNLOGD; the destination is the first of the three operands.
const (
	ternXor    = 0x96
	ternChoose = 0xca // first ? second : third
	ternMajor  = 0xe8
	ternMerge  = 0xd8 // third ? second : first
)

// x16 makes 16 compressions side by side, one message to a 32-bit lane. State and message schedule live in
// registers, 24 of 32, so that the rounds touch memory for their constants only.
type x16 struct {
	s   [8]VecPhysical // a..h
	w   [16]word
	reg [16]VecPhysical // where w's unknown words go
	k   GPPhysical      // round constants in loops

	known *Mem // the head, if round 0 was done by it
}

var zmm = [32]VecPhysical{
	Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
	Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
}

// Scratch registers of the rounds.
var zt = [8]VecPhysical(zmm[24:])

func avx512() {
	var dst, msg, key, n = GPPhysical(RDI), GPPhysical(RSI), GPPhysical(RDX), GPPhysical(RCX)

	TEXT("sumAVX512", attr.NOSPLIT, "func(dst *byte, words, key *uint32, groups int)")
	Doc("sumAVX512 writes the cookies of groups times 16 messages, 16 lanes to a group. AVX-512 F, BW and VL.")
	Pragma("noescape")
	Load(Param("dst"), dst)
	Load(Param("words"), msg)
	Load(Param("key"), key)
	Load(Param("groups"), n)
	Label("group")
	c := x16{k: RAX}
	copy(c.s[:], zmm[:8])
	copy(c.reg[:], zmm[8:24])
	VMOVDQU32(swapWords, zt[0])
	for t := range 14 {
		VMOVDQU32(Mem{Base: msg, Disp: 64 * t}, c.reg[t])
		VPSHUFB(zt[0], c.reg[t], c.reg[t])
		c.w[t].at = c.reg[t]
	}
	c.w[14], c.w[15] = known(0), known(innerLength)
	c.head(key, keyInner, keyInnerHead)
	c.rounds(1, "inner")
	for i, s := range c.s {
		VPADDD_BCST(Mem{Base: key, Disp: keyInner + 4*i}, s, s)
		c.w[i].at, c.w[8+i] = s, known(outerConstants[i])
		c.reg[i], c.s[i] = s, zmm[8+i]
	}
	c.head(key, keyOuter, keyOuterHead)
	c.rounds(1, "outer")
	for i, s := range c.s {
		VPADDD_BCST(Mem{Base: key, Disp: keyOuter + 4*i}, s, s)
	}
	readOut16(dst, key, c.s)
	ADDQ(U32(16*32), dst)
	ADDQ(U32(16*64), msg)
	DECQ(n)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()

	TEXT("compressAVX512", attr.NOSPLIT, "func(states, words *uint32)")
	Doc("compressAVX512 is 16 plain compressions, for tests: word i of lane l is at 16*i+l.")
	Pragma("noescape")
	Load(Param("states"), dst)
	Load(Param("words"), msg)
	c = x16{k: RAX}
	copy(c.s[:], zmm[:8])
	copy(c.reg[:], zmm[8:24])
	for t := range 16 {
		VMOVDQU32(Mem{Base: msg, Disp: 64 * t}, c.reg[t])
		c.w[t].at = c.reg[t]
	}
	for i, s := range c.s {
		VMOVDQU32(Mem{Base: dst, Disp: 64 * i}, s)
	}
	c.rounds(0, "plain")
	for i, s := range c.s {
		VPADDD(Mem{Base: dst, Disp: 64 * i}, s, s)
		VMOVDQU32(s, Mem{Base: dst, Disp: 64 * i})
	}
	VZEROUPPER()
	RET()
}

// head is round 0 with a state that all lanes share.
func (c *x16) head(key Register, state, head int) {
	for i := range 6 { // what becomes b..d and f, g; the last h is in the head already
		if i != 3 {
			VPBROADCASTD(Mem{Base: key, Disp: state + 4*i}, c.s[i])
		}
	}
	VPADDD_BCST(Mem{Base: key, Disp: head + headA}, c.w[0].at, c.s[7])
	VPADDD_BCST(Mem{Base: key, Disp: head + headE}, c.w[0].at, c.s[3])
	c.turn()
	c.known = &Mem{Base: key, Disp: head}
}

// turn renames the registers for the next round: h is the new a, everything else moves down.
func (c *x16) turn() {
	h := c.s[7]
	copy(c.s[1:], c.s[:7])
	c.s[0] = h
}

// rounds does the rounds from the given one to 63. Words are known in the first 32 at most, so that the rest is
// a loop of 16: it halves the code, which shares the first-level cache with the rest of a worker.
func (c *x16) rounds(from int, name string) {
	for t := from; t < 32; t++ {
		c.round(t, nil)
	}
	LEAQ(roundTable.Offset(4*32), c.k)
	Label(name)
	for t := 32; t < 48; t++ {
		c.round(t, &Mem{Base: c.k, Disp: 4 * (t - 32)})
	}
	ADDQ(Imm(4*16), c.k)
	last := GPPhysical(RBX)
	LEAQ(roundTable.Offset(4*64), last)
	CMPQ(c.k, last)
	JNE(LabelRef(name))
}

// steps are instructions to come.
type steps []func()

// round is round t and, woven into it, the schedule of its word: rotations can only go to one of two ports on
// Intel, so they must not come in bunches. That alone gains 3 per cent there.
func (c *x16) round(t int, constant *Mem) {
	var schedule steps
	if t >= 16 {
		schedule = c.schedule(t)
	}
	d, h, w := c.s[3], c.s[7], c.w[t&15]
	late := false // the word may come last
	switch k := roundTable.Offset(4 * t); {
	case c.known != nil && t < 4:
		VPADDD_BCST(c.known.Offset(headH1+4*(t-1)), w.at, h)
	case w.known:
		VPADDD_BCST(fold(w.value+k256[t]), h, h)
	default:
		if constant != nil {
			k = *constant
		}
		VPADDD_BCST(k, h, h)
		late = true
	}
	weave(c.functions(), schedule)
	if late {
		VPADDD(w.at, h, h)
	}
	VPADDD(h, d, d)
	VPADDD(zt[3], h, h)
	VPADDD(zt[0], h, h)
	c.turn()
}

// functions adds the sum and the choice of e, f, g to h, and leaves the sum and the majority of a, b, c in
// zt[0] and zt[3]. Uses zt[0..3].
func (c *x16) functions() steps {
	a, b, third, e, f, g, h := c.s[0], c.s[1], c.s[2], c.s[4], c.s[5], c.s[6], c.s[7]
	return steps{
		func() { VPRORD(U8(6), e, zt[0]) },
		func() { VMOVDQA32(e, zt[3]) },
		func() { VPTERNLOGD(U8(ternChoose), g, f, zt[3]) },
		func() { VPRORD(U8(11), e, zt[1]) },
		func() { VPADDD(zt[3], h, h) },
		func() { VPRORD(U8(25), e, zt[2]) },
		func() { VMOVDQA32(a, zt[3]) },
		func() { VPTERNLOGD(U8(ternMajor), third, b, zt[3]) },
		func() { VPTERNLOGD(U8(ternXor), zt[2], zt[1], zt[0]) },
		func() { VPADDD(zt[0], h, h) },
		func() { VPRORD(U8(2), a, zt[0]) },
		func() { VPRORD(U8(13), a, zt[1]) },
		func() { VPRORD(U8(22), a, zt[2]) },
		func() { VPTERNLOGD(U8(ternXor), zt[2], zt[1], zt[0]) },
	}
}

// weave emits a with b spread evenly over it.
func weave(a, b steps) {
	n := 0
	for i, f := range a {
		f()
		for ; n*len(a) < (i+1)*len(b); n++ {
			b[n]()
		}
	}
}

// schedule makes w[t]. In both blocks it has a term that is not known for all t. Uses zt[4..7].
func (c *x16) schedule(t int) (out steps) {
	s := split(&c.w, t)
	var add []Op
	for _, x := range []Op{s.w16, s.w7} {
		if x != nil {
			add = append(add, x)
		}
	}
	sigma := func(x Op, r0, r1, shift uint8, to VecPhysical) {
		if x == nil {
			return
		}
		out = append(out,
			func() { VPRORD(U8(r0), x, to) },
			func() { VPRORD(U8(r1), x, zt[5]) },
			func() { VPSRLD(U8(shift), x, zt[6]) },
			func() { VPTERNLOGD(U8(ternXor), zt[6], zt[5], to) })
		add = append(add, to)
	}
	sigma(s.w15, 7, 18, 3, zt[4])
	sigma(s.w2, 17, 19, 10, zt[7])
	dst, sum := c.reg[t&15], add[0]
	if s.sum != 0 {
		x, k := sum, fold(s.sum)
		out = append(out, func() { VPADDD_BCST(k, x, dst) })
		sum = dst
	}
	for _, x := range add[1:] {
		y := sum
		out = append(out, func() { VPADDD(x, y, dst) })
		sum = dst
	}
	c.w[t&15] = word{at: dst}
	return out
}

// readOut16 turns 16 tags, word i of all of them in s[i], into 16 cookies in a row: byte 0 the epoch, then the
// tag's first 31 bytes. Overwrites all scratch.
func readOut16(dst, key Register, s [8]VecPhysical) {
	VMOVDQU32(swapCookie, zt[0])
	// Byte-swapped and rotated so that the byte that belongs into the next word is at its place there.
	for _, r := range s {
		VPSHUFB(zt[0], r, r)
	}
	VPBROADCASTD(Mem{Base: key, Disp: keyEpoch}, zt[1])
	for i := 7; i >= 0; i-- {
		from := zt[1]
		if i > 0 {
			from = s[i-1]
		}
		VPTERNLOGD_BCST(U8(ternMerge), fold(0xff), from, s[i])
	}
	// Four words of lane 4b+q side by side in block b of x[q]; x[4+q] holds the other four.
	var x [8]VecPhysical
	for half := range 2 {
		r := s[4*half : 4*half+4]
		u := zt[:4]
		VPUNPCKLDQ(r[1], r[0], u[0])
		VPUNPCKHDQ(r[1], r[0], u[1])
		VPUNPCKLDQ(r[3], r[2], u[2])
		VPUNPCKHDQ(r[3], r[2], u[3])
		VPUNPCKLQDQ(u[2], u[0], r[0])
		VPUNPCKHQDQ(u[2], u[0], r[1])
		VPUNPCKLQDQ(u[3], u[1], r[2])
		VPUNPCKHQDQ(u[3], u[1], r[3])
		copy(x[4*half:], r)
	}
	VMOVDQU32(pairLow, zt[4])
	VMOVDQU32(pairHigh, zt[5])
	for q := range 4 {
		VMOVDQA32(x[q], zt[6])
		VPERMT2Q(x[4+q], zt[4], zt[6]) // blocks 0 and 1: lanes q and 4+q
		VPERMT2Q(x[4+q], zt[5], x[q])  // blocks 2 and 3: lanes 8+q and 12+q
		VMOVDQU32(zt[6].AsY(), Mem{Base: dst, Disp: 32 * q})
		VEXTRACTI64X4(U8(1), zt[6], Mem{Base: dst, Disp: 32 * (4 + q)})
		VMOVDQU32(x[q].AsY(), Mem{Base: dst, Disp: 32 * (8 + q)})
		VEXTRACTI64X4(U8(1), x[q], Mem{Base: dst, Disp: 32 * (12 + q)})
	}
}
