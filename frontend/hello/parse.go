package hello

import "encoding/binary"

// Sizes and positions in a datagram that starts with an epoch-0 record with a handshake message (RFC 6347
// sections 4.1 and 4.2.2).
const (
	recordHeader    = 13 // type 1, version 2, epoch 2, sequence number 6, length 2
	handshakeHeader = 12 // type 1, length 3, message_seq 2, fragment_offset 3, fragment_length 3
	messageSeqAt    = recordHeader + 4
	bodyAt          = recordHeader + handshakeHeader
	randomAt        = bodyAt + 2    // after client_version
	sessionIDAt     = randomAt + 32 // length byte of session_id
	maxSessionID    = 32            // RFC 5246 section 7.4.1.2
	maxMessage      = 1 << 14       // longest handshake message looked at: one unfragmented record's worth
)

// Content and handshake types (RFC 5246, RFC 6347, RFC 9146).
const (
	typeAlert = 21

	typeChangeCipherSpec = 20
	typeHandshake        = 22
	typeCID              = 25
	msgClientHello       = 1
	msgHelloVerify       = 3
	dtlsFirst            = 20 // RFC 7983: first bytes 20..63 are DTLS
	dtlsLast             = 63
	unifiedFirst         = 32 // RFC 9147 section 4: 001xxxxx
	versionMajor         = 0xfe
	versionDTLS10        = 0xfeff
	versionDTLS12        = 0xfefd
)

// ClientHello is what the guard needs of a ClientHello. Its pointers point into the parsed datagram and are valid as
// long as that is.
type ClientHello struct {
	Random  *[32]byte
	Cookie  []byte // empty in a first ClientHello
	Version uint16 // client_version
	Body    []byte // the message's body, as far as it is in this datagram
	Whole   bool   // ... which is all of it
}

// Parse reads the first record of datagram d into h and classifies it. h is filled only if that is OK.
func Parse(d []byte, h *ClientHello) Reason {
	switch {
	case len(d) == 0 || d[0] < dtlsFirst || d[0] > dtlsLast:
		return NotDTLS
	case d[0] != typeHandshake:
		return classify(d)
	case len(d) < bodyAt:
		return classify(d)
	}
	be := binary.BigEndian
	if d[1] != versionMajor {
		return BadVersion
	}
	if be.Uint16(d[3:]) != 0 {
		return Encrypted
	}
	if d[recordHeader] != msgClientHello {
		return NotHello
	}
	record := int(be.Uint16(d[11:]))
	message := MessageLength(d)
	offset := int(d[19])<<16 | int(be.Uint16(d[20:]))
	fragment := int(d[22])<<16 | int(be.Uint16(d[23:]))
	switch {
	case record > len(d)-recordHeader:
		return Truncated
	case message >= maxMessage:
		return BadLength
	case fragment == 0:
		return ZeroFragment
	case offset+fragment > message || handshakeHeader+fragment > record:
		return BadLength
	case offset != 0:
		return LaterFragment
	}
	return parseBody(d[:bodyAt+fragment], message, h)
}

// MessageLength is that of the handshake message that datagram d, which Parse found to be OK, has all or the beginning of.
func MessageLength(d []byte) int { return int(d[14])<<16 | int(binary.BigEndian.Uint16(d[15:])) }

// classify names a datagram whose first record is not long enough for, or not of, a handshake message.
func classify(d []byte) Reason {
	if len(d) < recordHeader {
		return Truncated
	}
	if d[0] >= unifiedFirst { // DTLS 1.3 unified header (RFC 9147 section 4): no version follows
		return Encrypted
	}
	if d[1] != versionMajor {
		return BadVersion
	}
	if d[0] == typeCID || binary.BigEndian.Uint16(d[3:]) != 0 {
		return Encrypted
	}
	if d[0] == typeHandshake {
		return Truncated
	}
	return NotHello
}

// parseBody reads the ClientHello in d, which ends where the first fragment of its message does.
func parseBody(d []byte, message int, h *ClientHello) Reason {
	if len(d) <= sessionIDAt {
		return BadSessionID
	}
	version := binary.BigEndian.Uint16(d[bodyAt:])
	if d[bodyAt] != versionMajor {
		return BadVersion
	}
	sid := int(d[sessionIDAt])
	cookieAt := sessionIDAt + 1 + sid // length byte of cookie
	if sid > maxSessionID || len(d) <= cookieAt {
		return BadSessionID
	}
	suitesAt := cookieAt + 1 + int(d[cookieAt])
	if len(d) < suitesAt {
		return BadCookie
	}
	// Suites and compression methods may stand in a later fragment. What is here must be possible, and what
	// is not must at least have room in the message.
	end := bodyAt + message
	const leastRest = 2 + 2 + 1 + 1 // one suite, one compression method, a length each
	if end-suitesAt < leastRest {
		return BadBody
	}
	if len(d) >= suitesAt+2 {
		suites := int(binary.BigEndian.Uint16(d[suitesAt:]))
		methodsAt := suitesAt + 2 + suites
		if suites == 0 || suites%2 != 0 || methodsAt+2 > end {
			return BadBody
		}
		if len(d) > methodsAt {
			if methods := int(d[methodsAt]); methods == 0 || methodsAt+1+methods > end {
				return BadBody
			}
		}
	}
	h.Version = version
	h.Random = (*[32]byte)(d[randomAt:])
	h.Cookie = d[cookieAt+1 : suitesAt]
	h.Body = d[bodyAt:]
	h.Whole = len(d) == end
	return OK
}

// IsAlert reports whether d starts with an alert record of epoch 0.
func IsAlert(d []byte) bool { return len(d) > 4 && d[0] == typeAlert && d[3] == 0 && d[4] == 0 }

// IsPlain reports whether d begins with a record of epoch 0 of DTLS 1.2 or below.
func IsPlain(d []byte) bool {
	return len(d) > 4 && d[0] <= typeHandshake && d[3] == 0 && d[4] == 0
}

// IsProtected reports whether d starts with a record that only comes at the end of a handshake or after it: a change of
// cipher spec, or anything of epoch 1 or later. A unified header (RFC 9147 section 4) has no epoch 0.
func IsProtected(d []byte) bool {
	return len(d) > 4 && (d[0] == typeChangeCipherSpec || d[0] >= unifiedFirst || d[3] != 0 || d[4] != 0)
}

// Proves reports whether d, from a server, starts with a record that the server only sends to a client whose Finished it has
// received, which proves the client's address. These are epoch 1 and later up to DTLS 1.2, and in 1.3 all epochs but 2, that of
// the handshake.
func Proves(d []byte) bool {
	switch {
	case len(d) <= 4 || d[0] > dtlsLast:
		return false
	case d[0] >= unifiedFirst:
		return d[0]&3 != 2
	}
	return d[0] >= dtlsFirst && (d[3] != 0 || d[4] != 0)
}

// IsEncryptedAlert reports whether d starts with an alert record of epoch 1 or later. Its content cannot be
// read, but hardly any is sent except to close.
func IsEncryptedAlert(d []byte) bool {
	return len(d) > 4 && d[0] == typeAlert && (d[3] != 0 || d[4] != 0)
}
