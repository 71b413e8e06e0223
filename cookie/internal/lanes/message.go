package lanes

import (
	"encoding/binary"
	"math/bits"
)

// Lengths in bytes of a cookie and of a ClientHello's random.
const (
	Size       = 32
	RandomSize = 32
)

// Message is what a cookie is the MAC of: the fields of cookie.Binding, which converts to it.
type Message struct {
	Source          [16]byte
	SourcePort      uint16
	DestinationPort uint16
	Version         uint16
	Random          *[RandomSize]byte
	Purpose         Purpose
}

// Purpose is what a cookie is for: it is added, without carry, to the first byte of the message.
type Purpose uint8

// Words of one message among 1, 8 and 16 lanes: from its first to its 14th.
type (
	words1  [13*1 + 1]uint32
	words8  [13*8 + 1]uint32
	words16 [13*16 + 1]uint32
)

// pack1, pack8 and pack16 write the 14 words of in's message at multiples of 1, 8 and 16, byte for byte as they
// lie in the message: the kernels swap their bytes, for many at once. The last two words of the block are the
// same for all messages and the kernels know them. One function for all strides would need a check of the
// bounds for each word and take 1.6 times as long.

func (in *Message) pack1(w *words1) {
	src, r := &in.Source, in.Random
	le := binary.LittleEndian
	w[0*1] = in.first() | le.Uint32(src[0:])<<8
	w[1*1] = le.Uint32(src[3:])
	w[2*1] = le.Uint32(src[7:])
	w[3*1] = le.Uint32(src[11:])
	w[4*1], w[5*1] = in.middle()
	w[6*1] = le.Uint32(r[1:])
	w[7*1] = le.Uint32(r[5:])
	w[8*1] = le.Uint32(r[9:])
	w[9*1] = le.Uint32(r[13:])
	w[10*1] = le.Uint32(r[17:])
	w[11*1] = le.Uint32(r[21:])
	w[12*1] = le.Uint32(r[25:])
	w[13*1] = le.Uint32(r[28:])>>8 | 0x80<<24 // the padding bit
}

func (in *Message) pack8(w *words8) {
	src, r := &in.Source, in.Random
	le := binary.LittleEndian
	w[0*8] = in.first() | le.Uint32(src[0:])<<8
	w[1*8] = le.Uint32(src[3:])
	w[2*8] = le.Uint32(src[7:])
	w[3*8] = le.Uint32(src[11:])
	w[4*8], w[5*8] = in.middle()
	w[6*8] = le.Uint32(r[1:])
	w[7*8] = le.Uint32(r[5:])
	w[8*8] = le.Uint32(r[9:])
	w[9*8] = le.Uint32(r[13:])
	w[10*8] = le.Uint32(r[17:])
	w[11*8] = le.Uint32(r[21:])
	w[12*8] = le.Uint32(r[25:])
	w[13*8] = le.Uint32(r[28:])>>8 | 0x80<<24 // the padding bit
}

func (in *Message) pack16(w *words16) {
	src, r := &in.Source, in.Random
	le := binary.LittleEndian
	w[0*16] = in.first() | le.Uint32(src[0:])<<8
	w[1*16] = le.Uint32(src[3:])
	w[2*16] = le.Uint32(src[7:])
	w[3*16] = le.Uint32(src[11:])
	w[4*16], w[5*16] = in.middle()
	w[6*16] = le.Uint32(r[1:])
	w[7*16] = le.Uint32(r[5:])
	w[8*16] = le.Uint32(r[9:])
	w[9*16] = le.Uint32(r[13:])
	w[10*16] = le.Uint32(r[17:])
	w[11*16] = le.Uint32(r[21:])
	w[12*16] = le.Uint32(r[25:])
	w[13*16] = le.Uint32(r[28:])>>8 | 0x80<<24 // the padding bit
}

// first is the first byte of the message.
func (in *Message) first() uint32 { return 0x01 ^ uint32(in.Purpose) }

// middle is words 4 and 5: the last byte of the address, ports, version, first byte of the random.
func (in *Message) middle() (w4, w5 uint32) {
	x := uint64(in.SourcePort)<<40 | uint64(in.DestinationPort)<<24 | uint64(in.Version)<<8 | uint64(in.Random[0])
	x = bits.ReverseBytes64(x | uint64(in.Source[15])<<56)
	return uint32(x), uint32(x >> 32)
}
