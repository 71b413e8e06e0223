package lanes

import "math/bits"

type (
	state [8]uint32  // a SHA-256 chaining value
	block [16]uint32 // one message block, words as numbers (FIPS 180-4 reads them big-endian)
)

// initialState is H(0) of FIPS 180-4 section 5.3.3.
var initialState = state{
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
}

// roundConstants is K of FIPS 180-4 section 4.2.2.
var roundConstants = [64]uint32{
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}

// compress is one SHA-256 compression of w into st, in portable Go (FIPS 180-4 section 6.2.2). The message
// schedule rolls through 16 words, which stay in the first-level cache.
func compress(st *state, w *block) {
	m := *w
	a, b, c, d, e, f, g, h := st[0], st[1], st[2], st[3], st[4], st[5], st[6], st[7]
	for i := range roundConstants {
		if i >= 16 {
			x, y := m[(i-2)&15], m[(i-15)&15]
			m[i&15] += (bits.RotateLeft32(x, -17) ^ bits.RotateLeft32(x, -19) ^ x>>10) + m[(i-7)&15] +
				(bits.RotateLeft32(y, -7) ^ bits.RotateLeft32(y, -18) ^ y>>3)
		}
		t1 := h + roundConstants[i] + m[i&15] + half1(e, f, g)
		t2 := half2(a, b, c)
		h, g, f, e, d, c, b, a = g, f, e, d+t1, c, b, a, t1+t2
	}
	st[0], st[1], st[2], st[3] = st[0]+a, st[1]+b, st[2]+c, st[3]+d
	st[4], st[5], st[6], st[7] = st[4]+e, st[5]+f, st[6]+g, st[7]+h
}

// half1 is what T1 of FIPS 180-4 takes from e, f and g, half2 is T2.
func half1(e, f, g uint32) uint32 {
	return (bits.RotateLeft32(e, -6) ^ bits.RotateLeft32(e, -11) ^ bits.RotateLeft32(e, -25)) + (g ^ e&(f^g))
}

func half2(a, b, c uint32) uint32 {
	return (bits.RotateLeft32(a, -2) ^ bits.RotateLeft32(a, -13) ^ bits.RotateLeft32(a, -22)) + ((a^b)&(b^c) ^ b)
}
