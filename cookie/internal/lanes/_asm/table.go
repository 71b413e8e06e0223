package main

import (
	"math/bits"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

var (
	roundTable Mem // K, FIPS 180-4 section 4.2.2
	foldTable  Mem // sums that folding known words yields
	folded     = map[uint32]int{}
	swapWords  Mem // byte swap of each 32-bit word, for 64 bytes
	swapCookie Mem // byte swap with the last byte moved to the front: see readOut
	pairLow    Mem // VPERMT2Q indices that put two cookies side by side
	pairHigh   Mem
	outerTail  Mem // words 8..15 of the outer block
	outerTailK Mem // the same plus K
	innerTail  Mem // words 12..15 of the inner block, zero where the message is
)

var k256 = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

var outerConstants = [8]uint32{0: outerPadding, 7: outerLength}

func words(name string, w ...uint32) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i, v := range w {
		DATA(4*i, U32(v))
	}
	return m
}

func tables() {
	roundTable = words("rounds", k256[:]...)
	var tailK [8]uint32
	for i := range tailK {
		tailK[i] = outerConstants[i] + k256[8+i]
	}
	outerTail = words("outerTail", outerConstants[:]...)
	outerTailK = words("outerTailK", tailK[:]...)
	innerTail = words("innerTail", 0, 0, 0, innerLength)
	swap, cookie := make([]uint32, 16), make([]uint32, 16)
	for i := range swap {
		at := uint32(i%4) * 0x04040404
		swap[i] = at + 0x00010203
		cookie[i] = at + 0x01020300
	}
	swapWords = words("swapWords", swap...)
	swapCookie = words("swapCookie", cookie...)
	pairLow = words("pairLow", 0, 0, 1, 0, 8, 0, 9, 0, 2, 0, 3, 0, 10, 0, 11, 0)
	pairHigh = words("pairHigh", 4, 0, 5, 0, 12, 0, 13, 0, 6, 0, 7, 0, 14, 0, 15, 0)
	foldTable = GLOBL("folds", attr.RODATA|attr.NOPTR)
}

// fold is a word in memory that holds v.
func fold(v uint32) Mem {
	at, ok := folded[v]
	if !ok {
		at = 4 * len(folded)
		folded[v] = at
		DATA(at, U32(v)) // foldTable is the last table opened
	}
	return foldTable.Offset(at)
}

func smallSigma0(x uint32) uint32 {
	return bits.RotateLeft32(x, -7) ^ bits.RotateLeft32(x, -18) ^ x>>3
}

func smallSigma1(x uint32) uint32 {
	return bits.RotateLeft32(x, -17) ^ bits.RotateLeft32(x, -19) ^ x>>10
}

// word is one of the 16 words of the rolling message schedule, as the generator knows it.
type word struct {
	known bool
	value uint32 // if known
	at    Op     // else: the register or the memory it is in
}

func known(v uint32) word { return word{known: true, value: v} }

// terms are the terms of w[t] = w[t-16] + s0(w[t-15]) + w[t-7] + s1(w[t-2]) (FIPS 180-4 section 6.2.2)
// sorted by what is known: the sum of the known ones, and the others.
type terms struct {
	sum              uint32
	w16, w15, w7, w2 Op // nil if known
}

func split(w *[16]word, t int) terms {
	var s terms
	take := func(i int, sigma func(uint32) uint32) Op {
		x := w[i&15]
		if !x.known {
			return x.at
		}
		s.sum += sigma(x.value)
		return nil
	}
	same := func(x uint32) uint32 { return x }
	s.w16, s.w15, s.w7, s.w2 = take(t, same), take(t+1, smallSigma0), take(t+9, same), take(t+14, smallSigma1)
	return s
}
