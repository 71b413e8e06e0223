package hello

import "encoding/binary"

// retryRandom is the random that makes a ServerHello a HelloRetryRequest (RFC 8446 section 4.1.3).
var retryRandom = [32]byte{
	0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
	0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
}

// MaxRetryCookie is the length in bytes of the longest cookie of a HelloRetryRequest that is issued: wolfSSL's with a
// hash of 48 bytes.
const MaxRetryCookie = 1 + 48 + 2 + 2 + 32

// retryOverhead is the length of a HelloRetryRequest datagram with neither session id, key_share nor cookie: headers,
// version, random, session id's length, suite, compression, length of extensions; supported_versions; cookie's lengths.
const retryOverhead = bodyAt + 2 + 32 + 1 + 2 + 1 + 2 + 6 + 6

// Retry is the content of a HelloRetryRequest.
type Retry struct {
	Suite  uint16
	Group  uint16 // that the client must send a share of; 0: none is asked for
	Echo   bool   // repeats the client's legacy_session_id
	Cookie []byte
}

// PutRetry turns the datagram d, a ClientHello that Parse found OK, into the HelloRetryRequest r that answers it, in
// place, and returns its length. It returns 0 and leaves d alone where the answer would be longer than the question.
// The record sequence number stays (RFC 9147 section 5.1: a server that keeps nothing has no other), message_seq is
// that of a server's first message.
func PutRetry(d []byte, r *Retry) int {
	session := 0
	if r.Echo {
		session = int(d[sessionIDAt])
	}
	n := retryOverhead + session + len(r.Cookie)
	if r.Group != 0 {
		n += 6
	}
	if len(r.Cookie) > MaxRetryCookie || n > len(d) {
		return 0
	}
	be := binary.BigEndian
	body := n - bodyAt
	d[1], d[2] = versionDTLS12>>8, versionDTLS12&0xff
	be.PutUint16(d[11:], uint16(handshakeHeader+body))
	d[13] = msgServerHello
	d[14], d[15], d[16] = 0, byte(body>>8), byte(body)
	d[17], d[18], d[19], d[20], d[21] = 0, 0, 0, 0, 0
	d[22], d[23], d[24] = 0, byte(body>>8), byte(body)
	be.PutUint16(d[bodyAt:], versionDTLS12)
	copy(d[randomAt:], retryRandom[:])
	d[sessionIDAt] = byte(session) // the id itself stands where the client's does
	b := d[sessionIDAt+1+session : n]
	be.PutUint16(b, r.Suite)
	b[2] = 0
	be.PutUint16(b[3:], uint16(len(b)-5))
	b = b[5:]
	if r.Group != 0 {
		be.PutUint16(b, extKeyShare)
		be.PutUint16(b[2:], 2)
		be.PutUint16(b[4:], r.Group)
		b = b[6:]
	}
	be.PutUint16(b, extSupportedVersions)
	be.PutUint16(b[2:], 2)
	be.PutUint16(b[4:], DTLS13)
	be.PutUint16(b[6:], extCookie)
	be.PutUint16(b[8:], uint16(2+len(r.Cookie)))
	be.PutUint16(b[10:], uint16(len(r.Cookie)))
	copy(b[12:], r.Cookie)
	return n
}

// Alert descriptions (RFC 5246 section 7.2).
const (
	alertFatal            = 2
	alertInternalError    = 80
	alertLength           = recordHeader + 2
	alertIllegalParameter = 47
)

// PutReset turns the datagram d, a ClientHello that Parse found OK, into a fatal alert that ends its handshake, in
// place, and returns its length. internal_error suggests to the client's application that the fault is not its own,
// so that it tries again. The record sequence number stays: the client has not seen it from the server yet.
func PutReset(d []byte) int {
	d[0] = typeAlert
	d[1], d[2] = versionDTLS12>>8, versionDTLS12&0xff
	d[11], d[12] = 0, 2
	d[13], d[14] = alertFatal, alertInternalError
	return alertLength
}

// IsIllegalParameter reports whether d is a fatal alert of epoch 0 that says illegal_parameter: what a server of DTLS
// 1.3 sends to a ClientHello whose cookie it cannot have made.
func IsIllegalParameter(d []byte) bool {
	return IsAlert(d) && len(d) >= alertLength && d[13] == alertFatal && d[14] == alertIllegalParameter
}
