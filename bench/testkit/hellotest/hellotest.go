// Package hellotest has the ClientHellos that tests, fuzzers and benchmarks share: captured ones of real clients, and one
// per wire rule, with the reason for which the parser must refuse it.
package hellotest

import (
	"encoding/binary"

	"github.com/dtlsguard/dtlsguard/bench/flood/hellos"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// Case is a datagram and the result that hello.Parse must return.
type Case struct {
	Name     string
	Datagram []byte
	Want     hello.Reason
}

// Captured returns the datagrams of real clients (package hellos) with the result that hello.Parse must return.
func Captured() []Case {
	var cases []Case
	for _, h := range hellos.All() {
		c := Case{h.Name, h.Datagram, hello.OK}
		if d := h.Datagram; d[19]|d[20]|d[21] != 0 {
			c.Want = hello.LaterFragment
		}
		cases = append(cases, c)
	}
	return cases
}

// Builder builds a ClientHello datagram. New returns a valid one; a test changes one field to break one rule. Lengths
// follow from the contents unless overridden.
type Builder struct {
	ContentType   byte
	RecordVersion uint16
	Epoch         uint16
	RecordSeq     uint32
	MessageType   byte
	MessageSeq    uint16
	Version       uint16
	Random        [32]byte
	SessionID     []byte
	Cookie        []byte
	Tail          []byte // suites, compression methods and extensions, with their lengths

	FragmentOffset int
	FragmentLength int // -1: all
	MessageLength  int // -1: as built
	RecordLength   int // -1: as built
	Cut            int // bytes to cut off the end of the datagram
}

// Tail returns the shortest legal rest of a ClientHello: one suite, null compression.
func Tail() []byte { return []byte{0, 2, 0xc0, 0x2b, 1, 0} }

// New returns the shortest legal ClientHello, 67 bytes, with a recognisable random.
func New() *Builder {
	b := &Builder{ContentType: 22, RecordVersion: 0xfeff, MessageType: 1, Version: 0xfefd, Tail: Tail(),
		FragmentLength: -1, MessageLength: -1, RecordLength: -1}
	for i := range b.Random {
		b.Random[i] = byte(i + 1)
	}
	return b
}

// Bytes builds the datagram.
func (b *Builder) Bytes() []byte {
	be := binary.BigEndian
	body := be.AppendUint16(nil, b.Version)
	body = append(body, b.Random[:]...)
	body = append(append(body, byte(len(b.SessionID))), b.SessionID...)
	body = append(append(body, byte(len(b.Cookie))), b.Cookie...)
	body = append(body, b.Tail...)
	message, fragment := len(body), len(body)
	if b.MessageLength >= 0 {
		message = b.MessageLength
	}
	if b.FragmentLength >= 0 {
		fragment = b.FragmentLength
		if from := min(b.FragmentOffset, len(body)); from+fragment <= len(body) {
			body = body[from : from+fragment]
		}
	}
	record := 12 + len(body)
	if b.RecordLength >= 0 {
		record = b.RecordLength
	}
	d := []byte{b.ContentType}
	d = be.AppendUint16(d, b.RecordVersion)
	d = be.AppendUint16(d, b.Epoch)
	d = append(d, 0, 0)
	d = be.AppendUint32(d, b.RecordSeq)
	d = be.AppendUint16(d, uint16(record))
	d = append(d, b.MessageType, byte(message>>16), byte(message>>8), byte(message))
	d = be.AppendUint16(d, b.MessageSeq)
	d = append(d, byte(b.FragmentOffset>>16), byte(b.FragmentOffset>>8), byte(b.FragmentOffset))
	d = append(d, byte(fragment>>16), byte(fragment>>8), byte(fragment))
	d = append(d, body...)
	return d[:len(d)-min(b.Cut, len(d))]
}

// Fragments builds one datagram per size bytes of the message.
func (b *Builder) Fragments(size int) (list [][]byte) {
	length := len(b.Bytes()) - 13 - 12 // record and handshake headers
	for at := 0; at < length; at += size {
		f := *b
		f.FragmentOffset, f.FragmentLength = at, min(size, length-at)
		f.RecordSeq += uint32(len(list))
		list = append(list, f.Bytes())
	}
	return list
}

// Cases returns one datagram per wire rule.
func Cases() []Case {
	long := func(n int) []byte { return make([]byte, n) }
	suites := func(n int, rest ...byte) []byte {
		return append(append(binary.BigEndian.AppendUint16(nil, uint16(n)), long(n)...), rest...)
	}
	var cases []Case
	add := func(name string, want hello.Reason, change func(*Builder)) {
		b := New()
		change(b)
		cases = append(cases, Case{name, b.Bytes(), want})
	}
	raw := func(name string, want hello.Reason, d ...byte) { cases = append(cases, Case{name, d, want}) }

	add("smallest", hello.OK, func(*Builder) {})
	add("DTLS 1.0", hello.OK, func(b *Builder) { b.Version = 0xfeff })
	add("record version 1.2", hello.OK, func(b *Builder) { b.RecordVersion = 0xfefd })
	add("record version 1.3", hello.OK, func(b *Builder) { b.RecordVersion = 0xfefc })
	add("record version of the future", hello.OK, func(b *Builder) { b.RecordVersion = 0xfe00 })
	add("DTLS 1.3 inside", hello.OK, func(b *Builder) { b.Version = 0xfefc })
	add("cookie of 32", hello.OK, func(b *Builder) { b.Cookie, b.MessageSeq, b.RecordSeq = long(32), 1, 1 })
	add("cookie of 20", hello.OK, func(b *Builder) { b.Cookie, b.MessageSeq = long(20), 1 })
	add("cookie of 255", hello.OK, func(b *Builder) { b.Cookie, b.MessageSeq = long(255), 1 })
	add("session id of 32", hello.OK, func(b *Builder) { b.SessionID = long(32) })
	add("session id and cookie", hello.OK, func(b *Builder) { b.SessionID, b.Cookie = long(32), long(32) })
	add("later record after it", hello.OK, func(b *Builder) { b.Tail = append(b.Tail, 0, 0); b.RecordLength = 12 + 44 })
	add("first fragment up to the cookie", hello.OK, func(b *Builder) { b.FragmentLength = 36 })
	add("first fragment of a post-quantum hello", hello.OK, func(b *Builder) {
		b.Tail = append(b.Tail, long(1300)...)
		b.MessageLength, b.FragmentLength = 1342, 1100
	})
	add("longest message", hello.OK, func(b *Builder) { b.MessageLength, b.FragmentLength = 1<<14-1, 42 })
	add("sequence numbers", hello.OK, func(b *Builder) { b.RecordSeq, b.MessageSeq = 0xfffffffe, 0xabcd })

	add("epoch 1", hello.Encrypted, func(b *Builder) { b.Epoch = 1 })
	raw("application data", hello.Encrypted, 23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0)
	raw("connection ID", hello.Encrypted, 25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 9, 9, 9, 0, 1, 0)
	raw("unified header that looks like a version", hello.Encrypted, 0x2f, 0xfe, 0xfd, 0, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10, 11)
	raw("DTLS 1.3 unified header", hello.Encrypted, 0x2f, 0, 1, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	add("server hello", hello.NotHello, func(b *Builder) { b.MessageType = 2 })
	raw("alert", hello.NotHello, 21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 40)
	raw("change cipher spec", hello.NotHello, 20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1)
	add("second fragment", hello.LaterFragment, func(b *Builder) { b.FragmentOffset, b.FragmentLength = 36, 6 })

	raw("nothing", hello.NotDTLS)
	raw("STUN", hello.NotDTLS, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42)
	raw("RTP", hello.NotDTLS, 0x80, 0, 0, 1)
	raw("TURN channel", hello.NotDTLS, 0x40, 0, 0, 4, 1, 2, 3, 4)
	add("content type 19", hello.NotDTLS, func(b *Builder) { b.ContentType = 19 })
	add("content type 64", hello.NotDTLS, func(b *Builder) { b.ContentType = 64 })

	raw("one byte", hello.Truncated, 22)
	add("cut in the handshake header", hello.Truncated, func(b *Builder) { b.Cut = 67 - 24 })
	add("record beyond the datagram", hello.Truncated, func(b *Builder) { b.Cut = 1 })
	add("record length lies", hello.Truncated, func(b *Builder) { b.RecordLength = 55 })
	add("TLS 1.0 record", hello.BadVersion, func(b *Builder) { b.RecordVersion = 0x0301 })
	add("AnyConnect", hello.BadVersion, func(b *Builder) { b.RecordVersion, b.Version = 0x0100, 0x0100 })
	add("TLS 1.2 inside", hello.BadVersion, func(b *Builder) { b.Version = 0x0303 })
	add("zero fragment", hello.ZeroFragment, func(b *Builder) { b.FragmentLength = 0 })
	add("message of 2^14", hello.BadLength, func(b *Builder) { b.MessageLength, b.FragmentLength = 1<<14, 42 })
	add("fragment beyond the message", hello.BadLength, func(b *Builder) { b.MessageLength = 41 })
	add("fragment beyond the record", hello.BadLength, func(b *Builder) { b.FragmentLength, b.MessageLength = 43, 43 })
	add("later fragment beyond the message", hello.BadLength, func(b *Builder) { b.FragmentOffset, b.FragmentLength, b.MessageLength = 10, 33, 42 })
	add("fragment ends in the random", hello.BadSessionID, func(b *Builder) { b.FragmentLength = 33 })
	add("fragment ends before the session id", hello.BadSessionID, func(b *Builder) { b.FragmentLength = 34 })
	add("session id of 33", hello.BadSessionID, func(b *Builder) { b.SessionID = long(33) })
	add("fragment ends in the session id", hello.BadSessionID, func(b *Builder) { b.SessionID = long(32); b.FragmentLength = 60 })
	add("fragment ends in the cookie", hello.BadCookie, func(b *Builder) { b.Cookie = long(32); b.FragmentLength = 67 })
	add("odd suites", hello.BadBody, func(b *Builder) { b.Tail = suites(3, 1, 0) })
	add("no suites", hello.BadBody, func(b *Builder) { b.Tail = suites(0, 1, 0, 0, 0) })
	add("suites beyond the message", hello.BadBody, func(b *Builder) { b.Tail = []byte{0, 4, 0xc0, 0x2b, 1, 0} })
	add("no compression method", hello.BadBody, func(b *Builder) { b.Tail = suites(2, 0, 0) })
	add("compression beyond the message", hello.BadBody, func(b *Builder) { b.Tail = suites(2, 2, 0) })
	add("message ends at the cookie", hello.BadBody, func(b *Builder) { b.Tail = nil })
	return cases
}
