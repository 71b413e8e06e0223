package lanes

import (
	"crypto/hmac"
	"crypto/sha256"
	mrand "math/rand/v2"
)

// Secret is as in package cookie.
type Secret [32]byte

func newKey(s Secret, keyID uint8) *Key {
	k := NewKey((*[32]byte)(&s), keyID)
	return &k
}

func testSecret(text string) Secret { return sha256.Sum256([]byte(text)) }

// reference computes a cookie with the standard library, from the format's definition alone.
func reference(s Secret, keyID uint8, b *Message) [Size]byte {
	h := hmac.New(sha256.New, s[:])
	h.Write(message(b))
	var c [Size]byte
	c[0] = keyID
	copy(c[1:], h.Sum(nil))
	return c
}

func randomMessage(r *mrand.Rand) *Message {
	b := &Message{SourcePort: uint16(r.Uint32()), DestinationPort: uint16(r.Uint32()), Version: 0xfefd, Random: new([RandomSize]byte)}
	for i := range b.Source {
		b.Source[i] = byte(r.Uint32())
	}
	for i := range b.Random {
		b.Random[i] = byte(r.Uint32())
	}
	return b
}
