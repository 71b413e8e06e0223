package traffic

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Template is a datagram and what varies in it between sources.
type Template struct {
	Bytes    []byte
	SeqAt    int  // last byte of the record sequence number; 0: none
	RandomAt int  // 8 bytes; 0: none
	Question bool // requires a HelloVerifyRequest
}

// Positions in a datagram with a ClientHello (RFC 6347 sections 4.1 and 4.2.2). The positions that generators write are
// even, because a checksum adds 16-bit words: the last of 6 bytes of the sequence number, bytes 1 to 8 of the 32 of the
// random.
const (
	recordLengthAt = 11
	recordHeader   = 13
	messageAt      = 14 // length of the message, three bytes
	MessageSeqAt   = 17
	fragmentAt     = 22 // length of the fragment, three bytes
	sessionIDAt    = 59
	seqAt          = 10
	randomAt       = 28
	firstSeqAt     = 5  // of the sequence number's 6 bytes
	junkSeed       = 4  // position of the random part of junk
	nonceAt        = 14 // of the explicit nonce of a protected record, 1 to 8 of it and of what follows
)

// FirstHello makes a flood of a real client's first datagram, a complete ClientHello or its first fragment.
func FirstHello(datagram []byte) (Template, error) {
	var h hello.ClientHello
	if r := hello.Parse(datagram, &h); r != hello.OK {
		return Template{}, fmt.Errorf("flood with this datagram: it is not a ClientHello: %v", r)
	}
	if len(datagram) > MaxDatagram {
		return Template{}, fmt.Errorf("flood with a datagram of %d bytes: at most %d go into a frame", len(datagram), MaxDatagram)
	}
	d := append([]byte(nil), datagram...)
	clear(d[firstSeqAt:seqAt]) // only its last byte varies; the answer repeats the rest
	return Template{d, seqAt, randomAt, true}, nil
}

// laterFragment makes the datagram after the first one of a fragmented ClientHello.
func laterFragment(datagram []byte) (Template, error) {
	var h hello.ClientHello
	if r := hello.Parse(datagram, &h); r != hello.LaterFragment || len(datagram) > MaxDatagram {
		return Template{}, fmt.Errorf("flood with this datagram of %d bytes: it is not a later fragment of a ClientHello: %v", len(datagram), r)
	}
	return Template{Bytes: append([]byte(nil), datagram...)}, nil
}

// WithCookie makes a flood of second ClientHellos: a complete first one with the same cookie for all sources. Byte 0 of a
// cookie of format v1 names its secret, so with the guard's current one the guard must compute a cookie to find it wrong.
func WithCookie(datagram, cookie []byte) (Template, error) {
	t, err := FirstHello(datagram)
	if err != nil {
		return Template{}, err
	}
	if t.Bytes, err = put(t.Bytes, skipSessionID(t.Bytes), cookie); err != nil {
		return Template{}, err
	}
	binary.BigEndian.PutUint16(t.Bytes[MessageSeqAt:], 1)
	return t, nil
}

// WithSessionID makes first ClientHellos with a session_id that identifies them.
func WithSessionID(datagram, id []byte) (Template, error) {
	t, err := FirstHello(datagram)
	if err == nil {
		t.Bytes, err = put(t.Bytes, sessionIDAt, id)
	}
	return t, err
}

func skipSessionID(d []byte) int { return sessionIDAt + 1 + int(d[sessionIDAt]) }

// put replaces a field with a length byte, at at, of the complete ClientHello d, and adjusts all lengths.
func put(d []byte, at int, field []byte) ([]byte, error) {
	be := binary.BigEndian
	message := int(d[messageAt])<<16 | int(be.Uint16(d[messageAt+1:]))
	fragment := int(d[fragmentAt])<<16 | int(be.Uint16(d[fragmentAt+1:]))
	if fragment != message || len(field) > 255 || len(d) > MaxDatagram-len(field) {
		return nil, fmt.Errorf("flood with a field of %d bytes: want a whole ClientHello in one datagram", len(field))
	}
	message += len(field) - int(d[at])
	out := append([]byte(nil), d[:at]...)
	out = append(append(out, byte(len(field))), field...)
	out = append(out, d[at+1+int(d[at]):]...)
	be.PutUint16(out[recordLengthAt:], uint16(12+message)) // 12: handshake header
	be.PutUint16(out[messageAt+1:], uint16(message))
	be.PutUint16(out[fragmentAt+1:], uint16(message))
	return out, nil
}

// Junk makes a flood of datagrams of size bytes that belong to no protocol that shares a port with DTLS: the first byte,
// 5, is not assigned (RFC 7983 section 7).
func Junk(size int) (Template, error) {
	if size < junkSeed+8 || size > MaxDatagram {
		return Template{}, fmt.Errorf("junk of %d bytes: want %d to %d", size, junkSeed+8, MaxDatagram)
	}
	d := make([]byte, size)
	d[0] = 5
	return Template{Bytes: d, RandomAt: junkSeed}, nil
}

// Record makes a flood of application data of size bytes in records of epoch 1 (RFC 6347 section 4.1), of unknown flows.
func Record(size int) (Template, error) {
	if size < nonceAt+8 || size > MaxDatagram {
		return Template{}, fmt.Errorf("records of %d bytes: want %d to %d", size, nonceAt+8, MaxDatagram)
	}
	d := make([]byte, size)
	copy(d, []byte{23, 0xfe, 0xfd, 0, 1})
	binary.BigEndian.PutUint16(d[recordLengthAt:], uint16(size-recordHeader))
	return Template{Bytes: d, SeqAt: seqAt, RandomAt: nonceAt}, nil
}

// Append appends the datagram of source to b.
func (t *Template) Append(b []byte, source netip.AddrPort) []byte {
	from := len(b)
	b = append(b, t.Bytes...)
	d := b[from:]
	if t.SeqAt != 0 {
		d[t.SeqAt] = Sequence(source)
	}
	if t.RandomAt != 0 {
		binary.NativeEndian.PutUint64(d[t.RandomAt:], spreadOf(source))
	}
	return b
}

// Sequence is the record sequence number of source: one byte, repeated by the answer. A client counts from 0 (RFC 6347
// section 4.1), and some servers ignore numbers far ahead: wolfSSL 5.5 those from 2^40 on.
func Sequence(source netip.AddrPort) byte { return byte(source.Port()) }

// Spread is SPREAD of flood.bpf.c: 2^64 / golden ratio, odd. Multiplying by it spreads sources over the random (Knuth,
// TAOCP 6.4).
const Spread = 0x9e3779b97f4a7c15
