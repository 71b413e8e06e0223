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

func (c *x16) round(t int, constant *Mem) {
	a, b, d, e, f, g, h := c.s[0], c.s[1], c.s[3], c.s[4], c.s[5], c.s[6], c.s[7]
	w := c.w[t&15]
	switch k := roundTable.Offset(4 * t); {
	case c.known != nil && t < 4:
		VPADDD_BCST(c.known.Offset(headH1+4*(t-1)), w.at, h)
	case w.known:
		VPADDD_BCST(fold(w.value+k256[t]), h, h)
	default:
		if constant != nil {
			k = *constant
		}
		VPADDD(w.at, h, h)
		VPADDD_BCST(k, h, h)
	}
	sigma(e, 6, 11, 25, zt[0], zt[1], zt[2])
	VMOVDQA32(e, zt[3])
	VPTERNLOGD(U8(ternChoose), g, f, zt[3])
	VPADDD(zt[3], h, h)
	VPADDD(zt[0], h, h)
	VPADDD(h, d, d)
	sigma(a, 2, 13, 22, zt[4], zt[5], zt[6])
	VMOVDQA32(a, zt[7])
	VPTERNLOGD(U8(ternMajor), c.s[2], b, zt[7])
	VPADDD(zt[7], h, h)
	VPADDD(zt[4], h, h)
	c.turn()
}

// sigma leaves the xor of three rotations of x in t0.
func sigma(x Op, r0, r1, r2 uint8, t0, t1, t2 VecPhysical) {
	VPRORD(U8(r0), x, t0)
	VPRORD(U8(r1), x, t1)
	VPRORD(U8(r2), x, t2)
	VPTERNLOGD(U8(ternXor), t2, t1, t0)
}

// smallSigma is sigma with a shift for the last rotation.
func smallSigma(x Op, r0, r1, shift uint8, t0, t1, t2 VecPhysical) {
	VPRORD(U8(r0), x, t0)
	VPRORD(U8(r1), x, t1)
	VPSRLD(U8(shift), x, t2)
	VPTERNLOGD(U8(ternXor), t2, t1, t0)
}

// schedule makes w[t]. If all its terms are known no instruction is needed.
func (c *x16) schedule(t int) {
	s := split(&c.w, t)
	var add []Op
	if s.w16 != nil {
		add = append(add, s.w16)
	}
	if s.w15 != nil {
		smallSigma(s.w15, 7, 18, 3, zt[0], zt[1], zt[2])
		add = append(add, zt[0])
	}
	if s.w7 != nil {
		add = append(add, s.w7)
	}
	if s.w2 != nil {
		smallSigma(s.w2, 17, 19, 10, zt[3], zt[4], zt[5])
		add = append(add, zt[3])
	}
	if len(add) == 0 {
		c.w[t&15] = known(s.sum)
		return
	}
	dst := c.reg[t&15]
	sum := add[0]
	if s.sum != 0 {
		VPADDD_BCST(fold(s.sum), sum, dst)
		sum = dst
	}
	for _, x := range add[1:] {
		VPADDD(x, sum, dst)
		sum = dst
	}
	if len(add) == 1 && s.sum == 0 {
		VMOVDQA32(sum, dst)
	}
	c.w[t&15] = word{at: dst}
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
