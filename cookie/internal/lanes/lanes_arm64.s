//go:build !purego

#include "textflag.h"

// Two messages side by side: the SHA256H instructions of one fill the latency of the other's.
//
// First message: state V0 V1, schedule V4..V7. Second: state V16 V17, schedule V20..V23. Both: round constants
// V24, words plus constants V3 V19, state before the round V2 V18.

// Four rounds of both messages, with the four words in m and n.
#define QUAD(m, n) \
	VLD1.P	16(R5), [V24.S4] \
	VADD	V24.S4, m.S4, V3.S4 \
	VADD	V24.S4, n.S4, V19.S4 \
	VMOV	V0.B16, V2.B16 \
	VMOV	V16.B16, V18.B16 \
	SHA256H	V3.S4, V1, V0 \
	SHA256H	V19.S4, V17, V16 \
	SHA256H2	V3.S4, V2, V1 \
	SHA256H2	V19.S4, V18, V17

// The same, and words 16 later in place of those in m0 and n0.
#define NEXT(m0, m1, m2, m3, n0, n1, n2, n3) \
	QUAD(m0, n0) \
	SHA256SU0	m1.S4, m0.S4 \
	SHA256SU0	n1.S4, n0.S4 \
	SHA256SU1	m3.S4, m2.S4, m0.S4 \
	SHA256SU1	n3.S4, n2.S4, n0.S4

#define NEXT16 \
	NEXT(V4, V5, V6, V7, V20, V21, V22, V23) \
	NEXT(V5, V6, V7, V4, V21, V22, V23, V20) \
	NEXT(V6, V7, V4, V5, V22, V23, V20, V21) \
	NEXT(V7, V4, V5, V6, V23, V20, V21, V22)

// All 64 rounds. R5 runs over the constants.
#define COMPRESS \
	MOVD	$·roundConstants(SB), R5 \
	NEXT16 \
	NEXT16 \
	NEXT16 \
	QUAD(V4, V20) \
	QUAD(V5, V21) \
	QUAD(V6, V22) \
	QUAD(V7, V23)

// Words 8..15 of the outer block: padding bit, length of the pad and 32 bytes, in bits.
DATA outerTail<>+0(SB)/4, $0x80000000
DATA outerTail<>+4(SB)/4, $0
DATA outerTail<>+8(SB)/8, $0
DATA outerTail<>+16(SB)/8, $0
DATA outerTail<>+24(SB)/4, $0
DATA outerTail<>+28(SB)/4, $768
GLOBL outerTail<>(SB), RODATA|NOPTR, $32

// Words 14 and 15 of the inner block: length of the pad and 55 bytes, in bits.
DATA innerTail<>+0(SB)/8, $0
DATA innerTail<>+8(SB)/4, $0
DATA innerTail<>+12(SB)/4, $952
GLOBL innerTail<>(SB), RODATA|NOPTR, $16

// func sumSHA2x2(dst *byte, words, key *uint32, groups int)
TEXT ·sumSHA2x2(SB), NOSPLIT, $0-32
	MOVD	dst+0(FP), R0
	MOVD	words+8(FP), R1
	MOVD	key+16(FP), R2
	MOVD	groups+24(FP), R3
	VLD1	(R2), [V8.S4, V9.S4, V10.S4, V11.S4] // inner and outer state
	ADD	$192, R2, R4
	VLD1	(R4), [V12.B16]                      // epoch in the last byte
	MOVD	$outerTail<>(SB), R4
	VLD1	(R4), [V13.S4, V14.S4]
	MOVD	$innerTail<>(SB), R4
	VLD1	(R4), [V15.S4]

group:
	VLD1.P	64(R1), [V4.B16, V5.B16, V6.B16, V7.B16]
	VLD1.P	64(R1), [V20.B16, V21.B16, V22.B16, V23.B16]
	VREV32	V4.B16, V4.B16
	VREV32	V5.B16, V5.B16
	VREV32	V6.B16, V6.B16
	VREV32	V7.B16, V7.B16
	VREV32	V20.B16, V20.B16
	VREV32	V21.B16, V21.B16
	VREV32	V22.B16, V22.B16
	VREV32	V23.B16, V23.B16
	VMOV	V15.D[1], V7.D[1]
	VMOV	V15.D[1], V23.D[1]
	VMOV	V8.B16, V0.B16
	VMOV	V9.B16, V1.B16
	VMOV	V8.B16, V16.B16
	VMOV	V9.B16, V17.B16
	COMPRESS

	// The hash is the first half of the outer block.
	VADD	V8.S4, V0.S4, V4.S4
	VADD	V9.S4, V1.S4, V5.S4
	VADD	V8.S4, V16.S4, V20.S4
	VADD	V9.S4, V17.S4, V21.S4
	VMOV	V13.B16, V6.B16
	VMOV	V14.B16, V7.B16
	VMOV	V13.B16, V22.B16
	VMOV	V14.B16, V23.B16
	VMOV	V10.B16, V0.B16
	VMOV	V11.B16, V1.B16
	VMOV	V10.B16, V16.B16
	VMOV	V11.B16, V17.B16
	COMPRESS

	// A cookie is the epoch and the tag's first 31 bytes.
	VADD	V10.S4, V0.S4, V0.S4
	VADD	V11.S4, V1.S4, V1.S4
	VADD	V10.S4, V16.S4, V16.S4
	VADD	V11.S4, V17.S4, V17.S4
	VREV32	V0.B16, V0.B16
	VREV32	V1.B16, V1.B16
	VREV32	V16.B16, V16.B16
	VREV32	V17.B16, V17.B16
	VEXT	$15, V0.B16, V12.B16, V4.B16
	VEXT	$15, V1.B16, V0.B16, V5.B16
	VEXT	$15, V16.B16, V12.B16, V6.B16
	VEXT	$15, V17.B16, V16.B16, V7.B16
	VST1.P	[V4.B16, V5.B16, V6.B16, V7.B16], 64(R0)
	SUBS	$1, R3, R3
	BNE	group
	RET

// func compressSHA2x2(states, words *uint32)
TEXT ·compressSHA2x2(SB), NOSPLIT, $0-16
	MOVD	states+0(FP), R0
	MOVD	words+8(FP), R1
	VLD1.P	64(R1), [V4.S4, V5.S4, V6.S4, V7.S4]
	VLD1	(R1), [V20.S4, V21.S4, V22.S4, V23.S4]
	VLD1	(R0), [V8.S4, V9.S4, V10.S4, V11.S4]
	VMOV	V8.B16, V0.B16
	VMOV	V9.B16, V1.B16
	VMOV	V10.B16, V16.B16
	VMOV	V11.B16, V17.B16
	COMPRESS
	VADD	V8.S4, V0.S4, V8.S4
	VADD	V9.S4, V1.S4, V9.S4
	VADD	V10.S4, V16.S4, V10.S4
	VADD	V11.S4, V17.S4, V11.S4
	VST1	[V8.S4, V9.S4, V10.S4, V11.S4], (R0)
	RET
