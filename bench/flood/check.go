package flood

import "encoding/binary"

// Positions in a datagram that begins with a ClientHello (RFC 6347 section 4).
const (
	rseqAt        = 5 // six bytes
	recordLenAt   = 11
	recordHeader  = 13
	messageTypeAt = recordHeader
	messageLenAt  = recordHeader + 1
	mseqAt        = recordHeader + 4
	offsetAt      = recordHeader + 6
	fragmentLenAt = recordHeader + 9
	bodyAt        = recordHeader + 12
)

// maxCookie is what clients accept at most, and so the longest that may be in an answer.
const maxCookie = 32

// right reports whether d is the HelloVerifyRequest that a ClientHello with record sequence number seq must get. It
// is deliberately not the guard's own parser: an error there must not hide here.
func right(d []byte, seq byte) bool {
	const cookieAt = bodyAt + 3 // after server_version and the length byte
	if len(d) <= cookieAt || len(d) > cookieAt+maxCookie {
		return false
	}
	be := binary.BigEndian
	const dtls10, helloVerify = 0xfeff, 3
	mseq := be.Uint16(d[mseqAt:])
	body := len(d) - bodyAt
	return d[0] == 22 && be.Uint16(d[1:]) == dtls10 && be.Uint16(d[3:]) == 0 && // handshake, version, epoch 0
		mseq <= 1 && be.Uint32(d[rseqAt:]) == 0 && d[rseqAt+4] == 0 && d[rseqAt+5] == seq &&
		int(be.Uint16(d[recordLenAt:])) == len(d)-recordHeader &&
		d[messageTypeAt] == helloVerify &&
		get24(d[messageLenAt:]) == body && get24(d[offsetAt:]) == 0 && get24(d[fragmentLenAt:]) == body &&
		be.Uint16(d[bodyAt:]) == dtls10 && int(d[cookieAt-1]) == len(d)-cookieAt
}

func get24(b []byte) int { return int(b[0])<<16 | int(binary.BigEndian.Uint16(b[1:])) }
