package limit

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Key is drawn once per table: with it nobody can choose whose place in a table is theirs, too.
type Key struct{ k0, k1 uint64 }

// NewKey draws a key.
func NewKey() Key {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crashes rather than fail
	return Key{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
}

// Of hashes b.
func (k Key) Of(b []byte) uint64 { return siphash.Hash(k.k0, k.k1, b) }

// Source is the part of an address (IPv4 as v4-mapped) that one host can pick from: all of IPv4's, IPv6's /64.
func Source(ip *[16]byte) []byte {
	if mapped(ip) {
		return ip[:]
	}
	return ip[:8]
}

// Prefix is the part of an address that one site can pick from: IPv4's /24, the longest that is routed on its own, and
// IPv6's /48 (RFC 6177).
func Prefix(ip *[16]byte) []byte {
	if mapped(ip) {
		return ip[:15]
	}
	return ip[:6]
}

func mapped(ip *[16]byte) bool { return [12]byte(ip[:12]) == [12]byte{10: 0xff, 11: 0xff} }
