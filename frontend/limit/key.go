package limit

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Key is drawn once per table, so that nobody can choose to share another's place in the table.
type Key struct{ k0, k1 uint64 }

// NewKey draws a key.
func NewKey() Key {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes instead
	return Key{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
}

// Of hashes b.
func (k Key) Of(b []byte) uint64 { return siphash.Hash(k.k0, k.k1, b) }

// Source is the part of an address (IPv4 as v4-mapped) that identifies a host: all of an IPv4 address, an IPv6 /64.
func Source(ip *[16]byte) []byte {
	if mapped(ip) {
		return ip[:]
	}
	return ip[:8]
}

// Prefix is the part of an address that identifies a site: an IPv4 /24, the longest prefix that is routed on its own, and
// an IPv6 /48 (RFC 6177).
func Prefix(ip *[16]byte) []byte {
	if mapped(ip) {
		return ip[:15]
	}
	return ip[:6]
}

func mapped(ip *[16]byte) bool { return [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff} }
