package cookie

import "encoding/binary"

// lane is one message on its way to a tag.
type lane struct {
	msg block
	tag state
}

// Batch computes many cookies under one key. Its lanes are filled while packets are parsed, computed once,
// and read out into the packets being built. Not for concurrent use.
type Batch struct {
	lanes []lane
	n     int
	key   *Key
}

// NewBatch makes a batch of at most capacity lanes; nothing is allocated after that.
func NewBatch(capacity int) *Batch { return &Batch{lanes: make([]lane, capacity)} }

// Reset empties the batch.
func (b *Batch) Reset() { b.n = 0 }

// Len is the number of lanes filled.
func (b *Batch) Len() int { return b.n }

// Add fills the next lane with in's message and returns its number. The words are written as the compression
// wants them, so there is no copying later. The caller keeps to the capacity.
func (b *Batch) Add(in *Binding) int {
	l := &b.lanes[b.n]
	src, r, m := &in.Source, in.Random, &l.msg
	be := binary.BigEndian
	m[0] = 0x01<<24 | be.Uint32(src[0:])>>8
	m[1] = be.Uint32(src[3:])
	m[2] = be.Uint32(src[7:])
	m[3] = be.Uint32(src[11:])
	m[4] = uint32(src[15])<<24 | uint32(in.SourcePort)<<8 | uint32(in.DestinationPort)>>8
	m[5] = uint32(in.DestinationPort)<<24 | uint32(in.Version)<<8 | uint32(r[0])
	for i := range 7 {
		m[6+i] = be.Uint32(r[1+4*i:])
	}
	m[13] = uint32(r[29])<<24 | uint32(r[30])<<16 | uint32(r[31])<<8 | 0x80 // the padding bit
	m[14] = 0
	m[15] = (64 + messageSize) * 8 // the length in bits counts the key pad before
	b.n++
	return b.n - 1
}

// Sum computes all lanes under k.
func (b *Batch) Sum(k *Key) {
	b.key = k
	for i := range b.n {
		l := &b.lanes[i]
		inner := k.inner
		compress(&inner, &l.msg)
		outer := block{8: 0x80000000, 15: (64 + 32) * 8} // the inner hash is 32 bytes, padded
		copy(outer[:8], inner[:])
		l.tag = k.outer
		compress(&l.tag, &outer)
	}
}

// Cookie writes the cookie of a lane that Sum computed.
func (b *Batch) Cookie(lane int, dst *[Size]byte) {
	t := &b.lanes[lane].tag
	be := binary.BigEndian
	dst[0] = b.key.epoch
	dst[1], dst[2], dst[3] = byte(t[0]>>24), byte(t[0]>>16), byte(t[0]>>8)
	for i := range 7 { // the cookie is the tag moved by one byte
		be.PutUint32(dst[4+4*i:], t[i]<<24|t[i+1]>>8)
	}
}

// Equal reports, in constant time, whether c is the cookie of a lane that Sum computed.
func (b *Batch) Equal(lane int, c []byte) bool {
	var want [Size]byte
	b.Cookie(lane, &want)
	return equal(&want, c)
}
