package cookie

import "github.com/dtlsguard/dtlsguard/cookie/internal/lanes"

// Size is the length of a cookie in bytes: GnuTLS, wolfSSL, NSS and tinydtls clients refuse 33.
const Size = lanes.Size

// RandomSize is the length of a ClientHello's random in bytes (RFC 5246 section 7.4.1.2).
const RandomSize = lanes.RandomSize

// messageSize is the length of the message that a cookie is the MAC of: see the package comment.
const messageSize = lanes.MessageSize

// Binding is what a cookie is bound to.
type Binding struct {
	Source          [16]byte // IPv6 address, IPv4 as v4-mapped (::ffff:a.b.c.d)
	SourcePort      uint16
	DestinationPort uint16
	Version         uint16 // client_version of the ClientHello's body
	Random          *[RandomSize]byte
	Purpose         Purpose
}

// Purpose is what a cookie is for, so that one that was given for another passes for none. It changes the first byte of
// the message.
type Purpose = lanes.Purpose

// The purposes there are.
const (
	HelloVerify Purpose = 0           // in a HelloVerifyRequest, up to DTLS 1.2
	HelloRetry  Purpose = 0x01 ^ 0x04 // in a HelloRetryRequest of DTLS 1.3: first byte 0x04, 0x07 in format v2
)

// Issue returns the cookie for b under k. For many at once use a [Batch].
func (k *Key) Issue(b *Binding) [Size]byte { return k.lanes.Sum((*lanes.Message)(b)) }

// Verify reports whether c is the cookie that k's current or previous secret gives b. The comparison takes
// the same time wherever the first difference is.
func (k *Keyring) Verify(b *Binding, c []byte) bool {
	key := k.ForCookie(c)
	if key == nil {
		return false
	}
	want := key.Issue(b)
	return lanes.Equal(&want, c)
}

// ForCookie picks the key that c claims to be made under, by its key ID; nil if there is none, or if c is
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
	case id == k.current.keyID:
		return k.current
	case k.previous != nil && id == k.previous.keyID:
		return k.previous
	}
	return nil
}
