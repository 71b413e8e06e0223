package answer

import "encoding/binary"

// Question is the part of a ClientHello that its answer repeats.
type Question struct {
	Length     int    // of the datagram, in bytes
	RecordSeq  uint64 // 48 bits
	MessageSeq uint16
}

// Positions in a datagram that begins with a handshake message (RFC 6347 sections 4.1, 4.2.1 and 4.2.2).
const (
	versionAt       = 1
	epochAt         = 3
	recordSeqAt     = 5 // six bytes
	recordLengthAt  = 11
	recordHeader    = 13
	messageTypeAt   = 13
	messageLengthAt = 14 // three bytes
	messageSeqAt    = 17
	offsetAt        = 19 // three bytes
	fragmentAt      = 22 // three bytes
	bodyAt          = 25
	cookieAt        = bodyAt + 3 // after server_version and its own length byte
)

const (
	handshake   = 22
	alert       = 21
	helloVerify = 3
	dtls10      = 0xfeff
	dtls12      = 0xfefd
)

// QuestionOf reads a Question from a complete ClientHello.
func QuestionOf(datagram []byte) Question {
	return Question{len(datagram), get48(datagram[recordSeqAt:]), binary.BigEndian.Uint16(datagram[messageSeqAt:])}
}

// IsAlert reports whether d is an unencrypted alert.
func IsAlert(d []byte) bool {
	return len(d) > recordHeader && d[0] == alert && d[epochAt]|d[epochAt+1] == 0
}

// IsHandshake reports whether d begins with an unencrypted handshake message other than a HelloVerifyRequest.
func IsHandshake(d []byte) bool {
	return len(d) >= bodyAt && d[0] == handshake && d[epochAt]|d[epochAt+1] == 0 && d[messageTypeAt] != helloVerify
}

// Check returns the fault of d as the answer to q. The cookie, a part of d, is set unless the fault is Kind, Lengths or
// Cookie.
//
// RFC 6347 section 4.2.1 has servers send version 1.0 whatever will be negotiated, and clients ignore it: version 1.2,
// which Mbed TLS and wolfSSL send, is not a fault. The same section requires the record sequence number of the ClientHello.
// Cookies of up to 255 bytes are no fault either, although GnuTLS, wolfSSL, NSS and tinydtls refuse 33.
func Check(d []byte, q Question) (cookie []byte, f Fault) {
	if len(d) < recordHeader+1 || d[0] != handshake || d[epochAt]|d[epochAt+1] != 0 || d[messageTypeAt] != helloVerify {
		return nil, Kind
	}
	be := binary.BigEndian
	body := len(d) - bodyAt
	if len(d) < cookieAt || int(be.Uint16(d[recordLengthAt:])) != len(d)-recordHeader ||
		get24(d[messageLengthAt:]) != body || get24(d[offsetAt:]) != 0 || get24(d[fragmentAt:]) != body ||
		int(d[cookieAt-1]) != len(d)-cookieAt {
		return nil, Lengths
	}
	cookie = d[cookieAt:]
	switch {
	case len(cookie) == 0:
		return nil, Cookie
	case !known(be.Uint16(d[versionAt:])) || !known(be.Uint16(d[bodyAt:])):
		return cookie, Version
	case get48(d[recordSeqAt:]) != q.RecordSeq:
		return cookie, RecordSeq
	case be.Uint16(d[messageSeqAt:]) != q.MessageSeq:
		return cookie, MessageSeq
	case len(d) > q.Length:
		return cookie, Length
	}
	return cookie, None
}

func known(version uint16) bool { return version == dtls10 || version == dtls12 }

func get24(b []byte) int { return int(b[0])<<16 | int(binary.BigEndian.Uint16(b[1:])) }

func get48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}
