package handoff

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// newQt makes the formula of Qt's QDtlsClientVerifier with QCryptographicHash::Sha256 as the hash of its
// GeneratorParameters, checked against Qt 6.4.2: HMAC-SHA256 over
//
//	port (2, little-endian) | IPv4 address (4, little-endian) or IPv6 address (16)
//
// On a socket bound to QHostAddress::Any an IPv4 client has a v4-mapped IPv6 address.
func newQt() formula {
	return &macFormula{hash: sha256.New, length: sha256.Size, message: func(m []byte, q *question) ([]byte, bool) {
		m = binary.LittleEndian.AppendUint16(m, q.seen.Port)
		if ip := netip.AddrFrom16(q.seen.IP); ip.Is4In6() && !q.mapped {
			a := ip.Unmap().As4()
			return append(m, a[3], a[2], a[1], a[0]), true
		}
		return append(m, q.seen.IP[:]...), true
	}}
}
