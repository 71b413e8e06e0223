package main

import (
	"fmt"

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

// evex makes 16 compressions side by side, one message to a 32-bit lane, or 8 in half as wide registers. State
// and message schedule live in registers, 24 of 32, so that the rounds touch memory for their constants only.
type evex struct {
	lanes int
	z     [32]VecPhysical // all registers; the last 8 are scratch
	t     [8]VecPhysical

	s   [8]VecPhysical // a..h
	w   [16]word
	reg [16]VecPhysical // where w's unknown words go
	k   GPPhysical      // round constants in loops

	known *Mem // the head, if round 0 was done by it
}

func newEVEX(lanes int) *evex {
	c := &evex{lanes: lanes, k: RAX, z: [32]VecPhysical{
		Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31,
	}}
	if lanes == 8 {
		for i, r := range c.z {
			c.z[i] = r.AsY().(VecPhysical)
		}
	}
	copy(c.s[:], c.z[:8])
	copy(c.reg[:], c.z[8:24])
	copy(c.t[:], c.z[24:])
	return c
}

// avx512 writes the kernels for so many lanes. 8 are for fewer messages than 16 would be worth it for: half as
// wide instructions have more ports to go to on Intel.
func avx512(lanes int) {
	var dst, msg, key, n = GPPhysical(RDI), GPPhysical(RSI), GPPhysical(RDX), GPPhysical(RCX)
	suffix, row := "", 4*lanes
	if lanes != 16 {
		suffix = fmt.Sprintf("x%d", lanes)
	}

	TEXT("sumAVX512"+suffix, attr.NOSPLIT, "func(dst *byte, words, key *uint32, groups int)")
	Doc(fmt.Sprintf("sumAVX512%s writes the cookies of groups times %d messages, a lane each. AVX-512 F, BW and VL.", suffix, lanes))
	Pragma("noescape")
	Load(Param("dst"), dst)
	Load(Param("words"), msg)
	Load(Param("key"), key)
	Load(Param("groups"), n)
	Label("group")
	c := newEVEX(lanes)
	VMOVDQU32(swapWords, c.t[0])
	for t := range 14 {
		VMOVDQU32(Mem{Base: msg, Disp: row * t}, c.reg[t])
		VPSHUFB(c.t[0], c.reg[t], c.reg[t])
		c.w[t].at = c.reg[t]
	}
	c.w[14], c.w[15] = known(0), known(innerLength)
	c.head(key, keyInner, keyInnerHead)
	c.rounds(1, "inner")
	for i, s := range c.s {
		VPADDD_BCST(Mem{Base: key, Disp: keyInner + 4*i}, s, s)
		c.w[i].at, c.w[8+i] = s, known(outerConstants[i])
		c.reg[i], c.s[i] = s, c.z[8+i]
	}
	c.head(key, keyOuter, keyOuterHead)
	c.rounds(1, "outer")
	for i, s := range c.s {
		VPADDD_BCST(Mem{Base: key, Disp: keyOuter + 4*i}, s, s)
	}
	c.readOut(dst, key)
	ADDQ(U32(32*lanes), dst)
	ADDQ(U32(64*lanes), msg)
	DECQ(n)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()

	TEXT("compressAVX512"+suffix, attr.NOSPLIT, "func(states, words *uint32)")
	Doc(fmt.Sprintf("compressAVX512%s is %d plain compressions, for tests: word i of lane l is at %[2]d*i+l.", suffix, lanes))
	Pragma("noescape")
	Load(Param("states"), dst)
	Load(Param("words"), msg)
	c = newEVEX(lanes)
	for t := range 16 {
		VMOVDQU32(Mem{Base: msg, Disp: row * t}, c.reg[t])
		c.w[t].at = c.reg[t]
	}
	for i, s := range c.s {
		VMOVDQU32(Mem{Base: dst, Disp: row * i}, s)
	}
	c.rounds(0, "plain")
	for i, s := range c.s {
		VPADDD(Mem{Base: dst, Disp: row * i}, s, s)
		VMOVDQU32(s, Mem{Base: dst, Disp: row * i})
	}
	VZEROUPPER()
	RET()
}

// head is round 0 with a state that all lanes share.
func (c *evex) head(key Register, state, head int) {
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
func (c *evex) turn() {
	h := c.s[7]
	copy(c.s[1:], c.s[:7])
	c.s[0] = h
}

// rounds does the rounds from the given one to 63. Words are known in the first 32 at most, so that the rest is
// a loop of 16: it halves the code, which shares the first-level cache with the rest of a worker.
func (c *evex) rounds(from int, name string) {
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
func (c *evex) round(t int, constant *Mem) {
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
	VPADDD(c.t[3], h, h)
	VPADDD(c.t[0], h, h)
	c.turn()
}

// functions adds the sum and the choice of e, f, g to h, and leaves the sum and the majority of a, b, c in
// t[0] and t[3]. Uses t[0..3].
func (c *evex) functions() steps {
	a, b, third, e, f, g, h := c.s[0], c.s[1], c.s[2], c.s[4], c.s[5], c.s[6], c.s[7]
	return steps{
		func() { VPRORD(U8(6), e, c.t[0]) },
		func() { VMOVDQA32(e, c.t[3]) },
		func() { VPTERNLOGD(U8(ternChoose), g, f, c.t[3]) },
		func() { VPRORD(U8(11), e, c.t[1]) },
		func() { VPADDD(c.t[3], h, h) },
		func() { VPRORD(U8(25), e, c.t[2]) },
		func() { VMOVDQA32(a, c.t[3]) },
		func() { VPTERNLOGD(U8(ternMajor), third, b, c.t[3]) },
		func() { VPTERNLOGD(U8(ternXor), c.t[2], c.t[1], c.t[0]) },
		func() { VPADDD(c.t[0], h, h) },
		func() { VPRORD(U8(2), a, c.t[0]) },
		func() { VPRORD(U8(13), a, c.t[1]) },
		func() { VPRORD(U8(22), a, c.t[2]) },
		func() { VPTERNLOGD(U8(ternXor), c.t[2], c.t[1], c.t[0]) },
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

// schedule makes w[t]. In both blocks it has a term that is not known for all t. Uses t[4..7].
func (c *evex) schedule(t int) (out steps) {
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
			func() { VPRORD(U8(r1), x, c.t[5]) },
			func() { VPSRLD(U8(shift), x, c.t[6]) },
			func() { VPTERNLOGD(U8(ternXor), c.t[6], c.t[5], to) })
		add = append(add, to)
	}
	sigma(s.w15, 7, 18, 3, c.t[4])
	sigma(s.w2, 17, 19, 10, c.t[7])
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
