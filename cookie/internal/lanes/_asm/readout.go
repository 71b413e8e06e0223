package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// readOut turns the tags, word i of all of them in s[i], into cookies in a row: byte 0 the key ID, then the tag's
// first 31 bytes. Overwrites all scratch.
func (c *evex) readOut(dst, key Register) {
	s, t := c.s, c.t
	VMOVDQU32(swapCookie, t[0])
	// Byte-swapped and rotated so that the byte that belongs into the next word is at its place there.
	for _, r := range s {
		VPSHUFB(t[0], r, r)
	}
	VPBROADCASTD(Mem{Base: key, Disp: keyKeyID}, t[1])
	for i := 7; i >= 0; i-- {
		from := t[1]
		if i > 0 {
			from = s[i-1]
		}
		VPTERNLOGD_BCST(U8(ternMerge), fold(0xff), from, s[i])
	}
	// Four words of lane 4b+q side by side in block b of s[q]; s[4+q] holds the other four.
	for half := range 2 {
		r := s[4*half : 4*half+4]
		VPUNPCKLDQ(r[1], r[0], t[0])
		VPUNPCKHDQ(r[1], r[0], t[1])
		VPUNPCKLDQ(r[3], r[2], t[2])
		VPUNPCKHDQ(r[3], r[2], t[3])
		VPUNPCKLQDQ(t[2], t[0], r[0])
		VPUNPCKHQDQ(t[2], t[0], r[1])
		VPUNPCKLQDQ(t[3], t[1], r[2])
		VPUNPCKHQDQ(t[3], t[1], r[3])
	}
	if c.lanes == 8 {
		c.store8(dst)
		return
	}
	VMOVDQU32(pairLow, t[4])
	VMOVDQU32(pairHigh, t[5])
	for q := range 4 {
		VMOVDQA32(s[q], t[6])
		VPERMT2Q(s[4+q], t[4], t[6]) // blocks 0 and 1: lanes q and 4+q
		VPERMT2Q(s[4+q], t[5], s[q]) // blocks 2 and 3: lanes 8+q and 12+q
		VMOVDQU32(t[6].AsY(), Mem{Base: dst, Disp: 32 * q})
		VEXTRACTI64X4(U8(1), t[6], Mem{Base: dst, Disp: 32 * (4 + q)})
		VMOVDQU32(s[q].AsY(), Mem{Base: dst, Disp: 32 * (8 + q)})
		VEXTRACTI64X4(U8(1), s[q], Mem{Base: dst, Disp: 32 * (12 + q)})
	}
}

// store8 is the end of readOut for two blocks. The states must be in the lower 16 registers.
func (c *evex) store8(dst Register) {
	for q := range 4 {
		VPERM2I128(U8(0x20), c.s[4+q], c.s[q], Y0)
		VPERM2I128(U8(0x31), c.s[4+q], c.s[q], Y1)
		VMOVDQU(Y0, Mem{Base: dst, Disp: 32 * q})
		VMOVDQU(Y1, Mem{Base: dst, Disp: 32 * (4 + q)})
	}
}

// readOut8 turns 8 tags, word i of all of them in s[i], into 8 cookies in a row, like evex.readOut.
func readOut8(dst, key Register, s [8]VecPhysical) {
	swap, mask, keyID := yt[0], yt[1], yt[2]
	VMOVDQU(swapCookie, swap)
	VPBROADCASTD(fold(0xff), mask)
	VPBROADCASTD(Mem{Base: key, Disp: keyKeyID}, keyID)
	for _, r := range s {
		VPSHUFB(swap, r, r)
	}
	for i := 7; i >= 0; i-- {
		from := keyID
		if i > 0 {
			from = s[i-1]
		}
		VPXOR(s[i], from, yt[3]) // the masked byte of from, the others of s[i]
		VPAND(mask, yt[3], yt[3])
		VPXOR(yt[3], s[i], s[i])
	}
	for half := range 2 {
		r := s[4*half : 4*half+4]
		u := []VecPhysical{Y8, Y9, Y10, Y11}
		VPUNPCKLDQ(r[1], r[0], u[0])
		VPUNPCKHDQ(r[1], r[0], u[1])
		VPUNPCKLDQ(r[3], r[2], u[2])
		VPUNPCKHDQ(r[3], r[2], u[3])
		VPUNPCKLQDQ(u[2], u[0], r[0])
		VPUNPCKHQDQ(u[2], u[0], r[1])
		VPUNPCKLQDQ(u[3], u[1], r[2])
		VPUNPCKHQDQ(u[3], u[1], r[3])
	}
	for q := range 4 {
		VPERM2I128(U8(0x20), s[4+q], s[q], Y8)
		VPERM2I128(U8(0x31), s[4+q], s[q], Y9)
		VMOVDQU(Y8, Mem{Base: dst, Disp: 32 * q})
		VMOVDQU(Y9, Mem{Base: dst, Disp: 32 * (4 + q)})
	}
}
