package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The SHA-NI kernels use SSE encodings only: processors exist that have these instructions but not AVX.
//
// SHA256RNDS2 does two rounds on a state kept as two registers of pairs, ABEF and CDGH, and takes the words
// in X0. Its latency is several times its throughput, so a second message hides in the gaps of the first,
// by how much depends on the processor.

// ni is one message's compression.
type ni struct {
	abef, cdgh VecPhysical
	m          [4]vec // message schedule, four words each
}

// vec is four words of the schedule: in a register, or known and in memory.
type vec struct {
	reg    VecPhysical
	mem, k Mem // words, words + K
	known  bool
}

var (
	niWords = X0
	niTemp  = X13
)

func niStreams(n int) []*ni {
	x := []VecPhysical{X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12}
	var out []*ni
	for i := range n {
		r := x[6*i:]
		s := &ni{abef: r[0], cdgh: r[1]}
		for j := range s.m {
			s.m[j].reg = r[2+j]
		}
		out = append(out, s)
	}
	return out
}

func shani(streams int) {
	dst, msg, key, n := GPPhysical(RDI), GPPhysical(RSI), GPPhysical(RDX), GPPhysical(RCX)
	suffix := ""
	if streams > 1 {
		suffix = fmt.Sprintf("x%d", streams)
	}

	TEXT("sumSHANI"+suffix, attr.NOSPLIT, "func(dst *byte, words, key *uint32, groups int)")
	Doc(fmt.Sprintf("sumSHANI%s writes the cookies of groups times %d messages of 16 words each. SHA-NI, SSSE3, SSE4.1.", suffix, streams))
	Pragma("noescape")
	Load(Param("dst"), dst)
	Load(Param("words"), msg)
	Load(Param("key"), key)
	Load(Param("groups"), n)
	Label("group")
	all := niStreams(streams)
	for i, s := range all {
		for j := range 3 {
			MOVOU(Mem{Base: msg, Disp: 64*i + 16*j}, s.m[j].reg)
		}
		MOVQ(Mem{Base: msg, Disp: 64*i + 48}, s.m[3].reg)
		for j := range 4 {
			PSHUFB(swapWords, s.m[j].reg)
		}
		POR(innerTail, s.m[3].reg)
		s.load(key, keyInnerPairs)
	}
	niRounds(all)
	for _, s := range all {
		s.finish(key, keyInnerPairs)
		// The hash is the first half of the outer block.
		s.abef, s.cdgh, s.m[0].reg, s.m[1].reg = s.m[0].reg, s.m[1].reg, s.abef, s.cdgh
		for j := range 2 {
			s.m[2+j].known, s.m[2+j].mem, s.m[2+j].k = true, outerTail.Offset(16*j), outerTailK.Offset(16*j)
		}
		s.load(key, keyOuterPairs)
	}
	niRounds(all)
	for i, s := range all {
		s.finish(key, keyOuterPairs)
		PSHUFB(swapWords, s.abef)
		PSHUFB(swapWords, s.cdgh)
		MOVOU(Mem{Base: key, Disp: keyKeyID}, niTemp)
		PALIGNR(U8(15), s.abef, s.cdgh) // tag bytes 15..30
		PALIGNR(U8(15), niTemp, s.abef) // key ID, tag bytes 0..14
		MOVOU(s.abef, Mem{Base: dst, Disp: 32 * i})
		MOVOU(s.cdgh, Mem{Base: dst, Disp: 32*i + 16})
	}
	ADDQ(U8(32*streams), dst)
	ADDQ(U32(64*streams), msg)
	DECQ(n)
	JNZ(LabelRef("group"))
	RET()

	TEXT("compressSHANI"+suffix, attr.NOSPLIT, "func(states, words *uint32)")
	Doc(fmt.Sprintf("compressSHANI%s is %d plain compressions, for tests.", suffix, streams))
	Pragma("noescape")
	Load(Param("states"), dst)
	Load(Param("words"), msg)
	all = niStreams(streams)
	for i, s := range all {
		for j := range 4 {
			MOVOU(Mem{Base: msg, Disp: 64*i + 16*j}, s.m[j].reg)
		}
		MOVOU(Mem{Base: dst, Disp: 32 * i}, s.abef)
		MOVOU(Mem{Base: dst, Disp: 32*i + 16}, s.cdgh)
		PSHUFD(U8(0xb1), s.abef, s.abef)
		PSHUFD(U8(0x1b), s.cdgh, s.cdgh)
		MOVO(s.abef, niTemp)
		PALIGNR(U8(8), s.cdgh, s.abef)
		PBLENDW(U8(0xf0), niTemp, s.cdgh)
	}
	niRounds(all)
	for i, s := range all {
		s.order()
		for j, r := range []VecPhysical{s.abef, s.cdgh} {
			MOVOU(Mem{Base: dst, Disp: 32*i + 16*j}, niTemp)
			PADDD(niTemp, r)
			MOVOU(r, Mem{Base: dst, Disp: 32*i + 16*j})
		}
	}
	RET()
}

func (s *ni) load(key Register, state int) {
	MOVOU(Mem{Base: key, Disp: state}, s.abef)
	MOVOU(Mem{Base: key, Disp: state + 16}, s.cdgh)
}

// finish adds the state that the compression started from and leaves A..D and E..H in order.
func (s *ni) finish(key Register, state int) {
	MOVOU(Mem{Base: key, Disp: state}, niTemp)
	PADDD(niTemp, s.abef)
	MOVOU(Mem{Base: key, Disp: state + 16}, niTemp)
	PADDD(niTemp, s.cdgh)
	s.order()
}

// order makes ABCD and EFGH of ABEF and CDGH.
func (s *ni) order() {
	PSHUFD(U8(0x1b), s.abef, s.abef)
	PSHUFD(U8(0xb1), s.cdgh, s.cdgh)
	MOVO(s.abef, niTemp)
	PBLENDW(U8(0xf0), s.cdgh, s.abef)
	PALIGNR(U8(8), niTemp, s.cdgh)
}

// niRounds does 16 times four rounds of all streams, turn by turn.
func niRounds(all []*ni) {
	for i := range 16 {
		for _, s := range all {
			if i >= 4 {
				s.schedule(i)
			}
			s.quad(i)
		}
	}
}

func (s *ni) quad(i int) {
	if w := s.m[i&3]; w.known {
		MOVO(w.k, niWords)
	} else {
		MOVO(w.reg, niWords)
		PADDD(roundTable.Offset(16*i), niWords)
	}
	SHA256RNDS2(niWords, s.abef, s.cdgh)
	PSHUFD(U8(0x0e), niWords, niWords)
	SHA256RNDS2(niWords, s.cdgh, s.abef)
}

// schedule makes the four words of quad i in place of those of quad i-4. The outer block's words 8..15 are
// known, and nearly all zero, which leaves out instructions where they would add nothing.
func (s *ni) schedule(i int) {
	w := &s.m[i&3] // words t-16
	w15, w7, w2 := s.m[(i+1)&3], s.m[(i+2)&3], s.m[(i+3)&3]
	switch {
	case w.known && w15.known: // words 8..11: s0 of the zeros after it adds nothing
		MOVO(w.mem, w.reg)
	case w.known:
		MOVO(w.mem, w.reg)
		SHA256MSG1(w15.reg, w.reg)
	default:
		SHA256MSG1(w15.source(), w.reg)
	}
	w.known = false
	if !w7.known || !w2.known { // else words 9..12, all zero
		MOVO(w2.reg, niTemp)
		PALIGNR(U8(4), w7.source(), niTemp)
		PADDD(niTemp, w.reg)
	}
	SHA256MSG2(w2.source(), w.reg)
}

func (v vec) source() Op {
	if v.known {
		return v.mem
	}
	return v.reg
}
