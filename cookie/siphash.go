package cookie

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/dchest/siphash"
)

// SizeV2 is the length of a cookie of format v2 in bytes: the key ID and 15 bytes of SipHash-2-4-128.
const SizeV2 = 16

// The first byte of what is hashed says what the hash is for, so that no output of one kind is one of another.
const (
	bindingV2   = 0x02
	bindingPool = 0x03
)

// sipKey derives the 16-byte key of SipHash from a secret, as its two words: the first half of
// HMAC-SHA256(secret, "dtlsguard cookie v2"). So one secret is shared and rotated for both formats.
func sipKey(s *Secret) (k [2]uint64) {
	h := hmac.New(sha256.New, s[:])
	h.Write([]byte("dtlsguard cookie v2"))
	sum := h.Sum(nil)
	return [2]uint64{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// SipHash returns the two words of k's SipHash key, for an implementation of format v2 elsewhere.
func (k *Key) SipHash() [2]uint64 { return k.sip }

// tag is SipHash-2-4-128 over b, first byte first, as two little-endian words.
func (k *Key) tag(first byte, b *Binding) (low, high uint64) {
	var m [messageSize]byte
	m[0] = first
	copy(m[1:], b.Source[:])
	binary.BigEndian.PutUint16(m[17:], b.SourcePort)
	binary.BigEndian.PutUint16(m[19:], b.DestinationPort)
	binary.BigEndian.PutUint16(m[21:], b.Version)
	copy(m[23:], b.Random[:])
	return siphash.Hash128(k.sip[0], k.sip[1], m[:])
}

// PoolTag says which entry of a pool of harvested cookies a ClientHello is mapped to. It is a secret of the guard's: not a
// cookie, and not to be shown to anybody.
func (k *Key) PoolTag(b *Binding) (low, high uint64) { return k.tag(bindingPool, b) }

// IssueV2 returns the cookie of format v2 for b under k.
func (k *Key) IssueV2(b *Binding) (c [SizeV2]byte) {
	low, high := k.tag(bindingV2^byte(b.Purpose), b)
	binary.LittleEndian.PutUint64(c[:], uint64(k.keyID)|low<<8)
	binary.LittleEndian.PutUint64(c[8:], low>>56|high<<8)
	return c
}

// VerifyV2 reports whether c is the cookie of format v2 that k's current or previous secret gives b. The comparison
// takes the same time wherever the first difference is.
func (k *Keyring) VerifyV2(b *Binding, c []byte) bool {
	if len(c) != SizeV2 {
		return false
	}
	key := k.byID(c[0])
	if key == nil {
		return false
	}
	want := key.IssueV2(b)
	return subtle.ConstantTimeCompare(want[:], c) == 1
}

// MAC is what the guard computes its own cookies with, as in --cookie-mac.
type MAC uint8

// The MACs there are, and the cookie formats that they make.
const (
	HMACSHA256 MAC = iota // format v1
	SipHash               // format v2
)

var macNames = [...]string{"hmac-sha256", "siphash"}

// String is the name in --cookie-mac.
func (m MAC) String() string { return macNames[m] }

// ParseMAC reads the name of a MAC.
func ParseMAC(s string) (MAC, error) {
	for m, name := range macNames {
		if s == name {
			return MAC(m), nil
		}
	}
	return 0, fmt.Errorf("no cookie MAC is called %q: there are hmac-sha256 and siphash", s)
}
