package hello

import "encoding/binary"

// MaxCookie is the length in bytes of the longest cookie that is issued. The guard's own have 32, because GnuTLS, wolfSSL,
// NSS and tinydtls refuse 33, although RFC 6347 allows 255. A server's own may be longer, for what other clients it has:
// those of radsecproxy have 40, and 48 are what a cache line has room for besides the rest of a pool entry.
const MaxCookie = 48

// verifyOverhead is the length of a HelloVerifyRequest datagram without its cookie: two headers,
// server_version and the cookie's length byte.
const verifyOverhead = bodyAt + 2 + 1

// PutHelloVerify turns the datagram d, a ClientHello that Parse found OK, into the HelloVerifyRequest that
// answers it, in place, and returns its length. It returns 0 and leaves d alone where the answer would be
// longer than the question: the smallest legal ClientHello is 67 bytes, so that happens with cookies of 40 at least. The
// cookie is of at most MaxCookie bytes. The record sequence number (RFC 6347
// section 4.2.1: the server MUST use the one of the ClientHello) and message_seq stay where they are: a
// client whose cookie expired takes a second HelloVerifyRequest only with message_seq 1.
func PutHelloVerify(d []byte, cookie []byte) int {
	n := verifyOverhead + len(cookie)
	if len(cookie) > MaxCookie || n > len(d) {
		return 0
	}
	body := byte(2 + 1 + len(cookie))
	d[1], d[2] = versionDTLS10>>8, versionDTLS10&0xff // RFC 6347 section 4.2.1: 1.0 whatever is negotiated
	d[11], d[12] = 0, handshakeHeader+body
	d[13] = msgHelloVerify
	d[14], d[15], d[16] = 0, 0, body
	d[19], d[20], d[21] = 0, 0, 0
	d[22], d[23], d[24] = 0, 0, body
	d[25], d[26] = versionDTLS10>>8, versionDTLS10&0xff
	d[27] = byte(len(cookie))
	copy(d[verifyOverhead:n], cookie)
	return n
}

// HelloVerifyCookie returns the cookie of d, if d is a HelloVerifyRequest, and whether it is one. The cookie
// is a part of d.
func HelloVerifyCookie(d []byte) ([]byte, bool) {
	if len(d) < verifyOverhead || d[0] != typeHandshake || d[3] != 0 || d[4] != 0 || d[13] != msgHelloVerify {
		return nil, false
	}
	n := int(d[27])
	if len(d) < verifyOverhead+n {
		return nil, false
	}
	return d[verifyOverhead : verifyOverhead+n], true
}

// Sequence is where a handshake message stands: in its records, and in its handshake.
type Sequence struct {
	Record  uint64 // 48 bits
	Message uint16
}

// SequenceOf reads the numbers of d, a ClientHello that Parse found OK or a HelloVerifyRequest.
func SequenceOf(d []byte) Sequence {
	be := binary.BigEndian
	return Sequence{be.Uint64(d[3:]) & (1<<48 - 1), be.Uint16(d[messageSeqAt:])}
}

// Put writes the numbers into d, which must be one of those.
func (s Sequence) Put(d []byte) {
	be := binary.BigEndian
	be.PutUint64(d[3:], s.Record&(1<<48-1)) // the epoch in front is 0
	be.PutUint16(d[messageSeqAt:], s.Message)
}

// ShiftRecords adds n to the numbers of the records of epoch 0 that begin the datagram d. Their headers are neither protected nor
// part of a transcript.
func ShiftRecords(d []byte, n uint64) {
	be := binary.BigEndian
	for len(d) >= recordHeader && d[0] >= typeChangeCipherSpec && d[0] <= typeHandshake && d[1] == versionDTLS10>>8 && be.Uint16(d[3:]) == 0 {
		be.PutUint64(d[3:], (be.Uint64(d[3:])+n)&(1<<48-1))
		d = d[min(len(d), recordHeader+int(be.Uint16(d[11:]))):]
	}
}
