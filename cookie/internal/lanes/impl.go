package lanes

import "math/bits"

//go:generate sh -c "cd _asm && go run . -kernel shani -out ../lanes_shani_amd64.s -stubs ../lanes_shani_amd64.go -pkg lanes"
//go:generate sh -c "cd _asm && go run . -kernel avx2 -out ../lanes_avx2_amd64.s -stubs ../lanes_avx2_amd64.go -pkg lanes"
//go:generate sh -c "cd _asm && go run . -kernel avx512 -out ../lanes_avx512_amd64.s -stubs ../lanes_avx512_amd64.go -pkg lanes"

// implementation is one way to compute cookies.
type implementation struct {
	name  string
	width int // messages computed together, a group
	// lanes is how many messages lie interleaved: word t of lane l is at t*lanes+l from the start of its
	// lanes. It divides width: 1 where a message's words are in a row, width where a register holds one word
	// of each.
	lanes int
	// sum computes the cookies of whole groups. Lanes of the last one that hold no message yield garbage in
	// dst and have no influence on the others.
	sum func(dst [][Size]byte, words []uint32, k *Key, groups int)
}

// maxWidth is the largest width of an implementation. All widths divide it.
const maxWidth = 16

var generic = &implementation{name: "generic", width: 1, lanes: 1, sum: sumGeneric}

// implementations are those that this CPU can run, portable first.
var implementations = append([]*implementation{generic}, native()...)

func sumGeneric(dst [][Size]byte, words []uint32, k *Key, groups int) {
	for i := range groups {
		sumOneGeneric(&dst[i], (*block)(words[messageWords*i:]), k)
	}
}

func sumOneGeneric(dst *[Size]byte, words *block, k *Key) {
	var w block
	for t := range messageWords - 2 {
		w[t] = bits.ReverseBytes32(words[t])
	}
	w[15] = innerBits
	inner, outer := k.inner, k.outer
	compress(&inner, &w)
	w = block{8: paddingBit, 15: outerBits}
	copy(w[:8], inner[:])
	compress(&outer, &w)
	putCookie(dst, k.keyID[0], &outer)
}
