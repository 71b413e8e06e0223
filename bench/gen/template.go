package gen

import (
	"encoding/binary"
	"fmt"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Template is a datagram and what varies in it from one source to the next.
type Template struct {
	datagram []byte
	seqAt    int // last byte of the record sequence number; 0: none
	randomAt int // 8 bytes; 0: none
}

// Positions in a datagram with a ClientHello (RFC 6347 sections 4.1 and 4.2.2). Those that the generator writes to are
// even, as a checksum adds 16-bit words: of the sequence number the last of 6 bytes, of the
// random 1 to 8 of 32.
const (
	recordLengthAt = 11
	messageAt      = 14 // length of the message, three bytes
	messageSeqAt   = 17
	fragmentAt     = 22 // length of the fragment, three bytes
	sessionIDAt    = 59
	seqAt          = 10
	randomAt       = 28
	junkSeed       = 4 // position of the random part of junk
)

// FirstHello makes a flood of a real client's first datagram, a whole ClientHello or its first fragment.
func FirstHello(datagram []byte) (Template, error) {
	var h hello.ClientHello
	if r := hello.Parse(datagram, &h); r != hello.OK {
		return Template{}, fmt.Errorf("flood with this datagram: it is no ClientHello: %v", r)
	}
	return Template{append([]byte(nil), datagram...), seqAt, randomAt}, nil
}

// WithCookie makes a flood of second ClientHellos: a whole first one, into which the same cookie is put for
// all. Byte 0 of a cookie of format v1 says which secret it is of, so with a guard's current one it costs that
// guard a hash to see that the cookie is wrong.
func WithCookie(datagram, cookie []byte) (Template, error) {
	t, err := FirstHello(datagram)
	if err != nil {
		return Template{}, err
	}
	d, be := t.datagram, binary.BigEndian
	at := sessionIDAt + 1 + int(d[sessionIDAt])
	message := int(d[messageAt])<<16 | int(be.Uint16(d[messageAt+1:]))
	if be.Uint16(d[fragmentAt+1:]) != be.Uint16(d[messageAt+1:]) || len(cookie) > 255 || len(d) > maxDatagram-len(cookie) {
		return Template{}, fmt.Errorf("flood with a cookie of %d bytes: want a whole ClientHello in one datagram", len(cookie))
	}
	message += len(cookie) - int(d[at])
	out := append([]byte(nil), d[:at]...)
	out = append(append(out, byte(len(cookie))), cookie...)
	out = append(out, d[at+1+int(d[at]):]...)
	be.PutUint16(out[recordLengthAt:], uint16(12+message)) // 12: handshake header
	be.PutUint16(out[messageAt+1:], uint16(message))
	be.PutUint16(out[fragmentAt+1:], uint16(message))
	be.PutUint16(out[messageSeqAt:], 1)
	t.datagram = out
	return t, nil
}

// Junk makes a flood of datagrams of size bytes that belong to no protocol that shares a port with DTLS:
// first byte 5 is not assigned (RFC 7983 section 7).
func Junk(size int) (Template, error) {
	if size < junkSeed+8 || size > maxDatagram {
		return Template{}, fmt.Errorf("junk of %d bytes: want %d to %d", size, junkSeed+8, maxDatagram)
	}
	d := make([]byte, size)
	d[0] = 5
	return Template{d, 0, junkSeed}, nil
}

// spread is SPREAD of flood.bpf.c.
const spread = 0x9e3779b97f4a7c15
