package cookie

import (
	"encoding/binary"
)

// Size is the length of a cookie in bytes: GnuTLS, wolfSSL, NSS and tinydtls clients refuse 33.
const Size = 32

// RandomSize is the length of a ClientHello's random in bytes (RFC 5246 section 7.4.1.2).
const RandomSize = 32

// messageSize is what SHA-256 pads into exactly one block: see the package comment.
const messageSize = 55

// Binding is what a cookie is bound to.
type Binding struct {
	Source          [16]byte // IPv6 address, IPv4 as v4-mapped (::ffff:a.b.c.d)
	SourcePort      uint16
	DestinationPort uint16
	Version         uint16 // client_version of the ClientHello's body
	Random          *[RandomSize]byte
}

// Issue returns the cookie for b under k. For many at once use a [Batch].
func (k *Key) Issue(b *Binding) [Size]byte {
	var w block
	b.put1((*words1)(w[:]))
	var c [Size]byte
	sumOne(&c, &w, &k.prepared)
	return c
}

// Verify reports whether c is the cookie that k's current or previous secret gives b. The comparison takes
// the same time wherever the first difference is.
func (k *Keyring) Verify(b *Binding, c []byte) bool {
	key := k.ForCookie(c)
	if key == nil {
		return false
	}
	want := key.Issue(b)
	return equal(&want, c)
}

// ForCookie picks the key that c claims to be made under, by its epoch byte; nil if there is none, or if c is
// not Size bytes long.
func (k *Keyring) ForCookie(c []byte) *Key {
	if len(c) != Size {
		return nil
	}
	return k.byID(c[0])
}

// byID finds the key whose cookies begin with id, nil if there is none.
func (k *Keyring) byID(id byte) *Key {
	switch {
	case id == k.current.epoch:
		return k.current
	case k.previous != nil && id == k.previous.epoch:
		return k.previous
	}
	return nil
}

// equal compares without a branch on the contents.
func equal(want *[Size]byte, got []byte) bool {
	if len(got) != Size {
		return false
	}
	var d uint64
	for i := 0; i < Size; i += 8 {
		d |= binary.LittleEndian.Uint64(want[i:]) ^ binary.LittleEndian.Uint64(got[i:])
	}
	return d == 0
}
