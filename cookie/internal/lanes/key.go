package lanes

import "encoding/binary"

// MessageSize is what SHA-256 pads into exactly one block (55 + 1 + 8 = 64).
const MessageSize = 55

const (
	messageWords = 16         // a padded message, in words
	paddingBit   = 0x80000000 // FIPS 180-4 section 5.1.1: a one bit follows the message
	innerBits    = (64 + MessageSize) * 8
	outerBits    = (64 + 32) * 8 // the inner hash follows the outer key pad
)

// Key is what the kernels need of a secret: the SHA-256 states after the two HMAC key pads, so that a cookie costs two
// compressions instead of four. Immutable. They find the fields by their offsets: _asm and
// the assembly have the same list.
type Key struct {
	inner, outer           state     // after the key pads
	innerPairs, outerPairs state     // the same as SHA-NI keeps it: F E B A, H G D C
	innerHead, outerHead   [8]uint32 // see head
	keyID                  [4]uint32 // in byte 0 and in byte 15
}

// NewKey prepares a secret whose cookies begin with keyID.
func NewKey(secret *[32]byte, keyID uint8) Key {
	inner, outer := initialState, initialState
	for _, pad := range []struct {
		st *state
		b  uint8
	}{{&inner, 0x36}, {&outer, 0x5c}} { // ipad and opad, RFC 2104 section 2
		var w block
		for i := range w {
			w[i] = 0x01010101 * uint32(pad.b)
			if i < len(secret)/4 {
				w[i] ^= binary.BigEndian.Uint32(secret[4*i:])
			}
		}
		compress(pad.st, &w)
	}
	return prepare(&inner, &outer, keyID)
}

// Midstates returns the SHA-256 states after the inner and outer key pads.
func (k *Key) Midstates() (inner, outer [8]uint32) { return k.inner, k.outer }

// Sum returns the cookie of one message. For many at once use a [Batch].
func (k *Key) Sum(m *Message) [Size]byte {
	var w block
	m.pack1((*words1)(w[:]))
	var c [Size]byte
	sumOne(&c, &w, k)
	return c
}

func prepare(inner, outer *state, keyID uint8) Key {
	return Key{
		inner: *inner, outer: *outer,
		innerPairs: pairs(inner), outerPairs: pairs(outer),
		innerHead: head(inner), outerHead: head(outer),
		keyID: [4]uint32{0: uint32(keyID), 3: uint32(keyID) << 24},
	}
}

func pairs(s *state) state { return state{s[5], s[4], s[1], s[0], s[7], s[6], s[3], s[2]} }

// head is what the first four rounds from a known state know before they know a message. Round 0 adds the
// message's first word to all it gives: new a and new e. Rounds 1 to 3 take g, f and e for their h.
func head(s *state) [8]uint32 {
	t1 := s[7] + roundConstants[0] + half1(s[4], s[5], s[6])
	t2 := half2(s[0], s[1], s[2])
	return [8]uint32{t1 + t2, s[3] + t1, s[6] + roundConstants[1], s[5] + roundConstants[2], s[4] + roundConstants[3]}
}

// putCookie writes the cookie of a tag: the key ID, then the tag's first 31 bytes.
func putCookie(dst *[Size]byte, keyID uint32, t *state) {
	be := binary.BigEndian
	for i := range t {
		be.PutUint32(dst[4*i:], keyID<<24|t[i]>>8)
		keyID = t[i]
	}
}
