package handoff

import (
	"crypto/sha256"
	"encoding/binary"
)

// newWolfSSL makes the formula of wolfSSL for DTLS up to 1.2 (wolfSSL_DTLS_SetCookieSecret), checked against wolfSSL
// 5.5.4: HMAC-SHA256 over
//
//	sockaddr | client_version (2) | random (32) | session_id | cipher_suites | compression_methods
//
// the last three without their lengths. A fragmented ClientHello's first fragment must reach the end of the compression
// methods; extensions, which make ClientHellos long, come after them.
func newWolfSSL() formula {
	return &macFormula{hash: sha256.New, length: sha256.Size, message: func(m []byte, q *question) ([]byte, bool) {
		session, suites, methods, ok := q.Offer()
		m = appendSockaddr(m, &q.seen, q.mapped)
		m = binary.BigEndian.AppendUint16(m, q.Version)
		m = append(m, q.Random[:]...)
		m = append(m, session...)
		m = append(m, suites...)
		return append(m, methods...), ok
	}}
}
