// Command _asm writes the amd64 kernels of package lanes: run it through go generate ./cookie/internal/lanes.
//
// Each kernel comes in two shapes made by one piece of code: sum, which makes cookies and folds away every
// word of the two blocks that is the same in all messages, and compress, one plain SHA-256 compression,
// which exists so that standard test vectors can be run over the same rounds.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

func main() {
	kernel := flag.String("kernel", "", "shani, avx2 or avx512")
	flag.Parse()
	ConstraintExpr("!purego")
	tables()
	switch *kernel {
	case "shani":
		cpuid()
		shani(1)
		shani(2)
	case "avx2":
		avx2()
	case "avx512":
		avx512(16)
		avx512(8)
	default:
		panic("no such kernel: " + *kernel)
	}
	Generate()
}

// A message is 14 words in memory; words 14 and 15 are the same in all of them: the length in bits, which
// counts the 64 bytes of key pad before the 55 of the message.
const innerLength = (64 + 55) * 8

// The outer block is the inner hash, the padding bit and the length after the pad and 32 bytes.
const (
	outerPadding = 0x80000000
	outerLength  = (64 + 32) * 8
)

// Places in the kernels' view of a key, type Key in package lanes. A test there holds the two together.
const (
	keyInner      = 0 // state after the inner pad, 8 words
	keyOuter      = 32
	keyInnerPairs = 64 // the same in the order of the SHA-NI instructions: F E B A, H G D C
	keyOuterPairs = 96
	keyInnerHead  = 128 // what rounds 0..3 know before any message: see head
	keyOuterHead  = 160
	keyKeyID      = 192 // the key ID in byte 0, and again in byte 15
)

// Places in a head: with a state that is the same for all messages, round 0 is two additions, and rounds
// 1..3 have their round constant added to h beforehand.
const (
	headA  = 0  // new a, less the first message word
	headE  = 4  // new e, likewise
	headH1 = 8  // h + K of round 1
	headH2 = 12 // h + K of round 2
	headH3 = 16 // h + K of round 3
)
