package flood

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// slot is memory for one datagram, used again and again.
type slot struct {
	kind  Kind
	d     []byte
	route udpbatch.Route
}

func newSlot(k Kind, target netip.AddrPort) slot {
	return slot{kind: k, d: template(k), route: udpbatch.NewRoute(target)}
}

// source draws a source address. The second byte stays off 0 and 255, so that neither the network's own
// address nor its broadcast address, nor 127.0.0.1, where real clients are, comes out.
func source(bits uint64) uint32 {
	return 127<<24 | (1+uint32(bits>>32)%254)<<16 | uint32(bits)&0xffff
}

// refresh makes s a datagram that was not sent before, from a source of its own.
func (s *slot) refresh(random *rand.PCG, key uint64) {
	ip := source(random.Uint64())
	local := [16]byte{10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint32(local[12:], ip)
	s.route.From(local)
	vary := s.d[randomAt : randomAt+32]
	if s.kind == Junk {
		vary = s.d[:randomAt] // all in front of the marker: headers, lengths, version
	} else {
		put48(s.d[rseqAt:], sequence(ip, key, s.d[mseqAt+1]))
	}
	for len(vary) >= 8 {
		binary.LittleEndian.PutUint64(vary, random.Uint64())
		vary = vary[8:]
	}
}

// sequence is the record sequence number, 48 bits, of a ClientHello from ip: a keyed hash of ip (the finaliser
// of SplitMix64), and in the lowest bit message_seq.
func sequence(ip uint32, key uint64, mseq byte) uint64 {
	z := uint64(ip) ^ key
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return (z^z>>31)>>16&^1 | uint64(mseq)
}

func put48(b []byte, v uint64) {
	binary.BigEndian.PutUint16(b, uint16(v>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(v))
}

func get48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// maxCookie is what clients accept at most, and so the longest that may be in an answer.
const maxCookie = 32

// right reports whether d is the HelloVerifyRequest that a ClientHello from ip must get. It is deliberately
// not the guard's own parser: an error there must not hide here.
func right(d []byte, ip uint32, key uint64) bool {
	const cookieAt = bodyAt + 3 // after server_version and the length byte
	if len(d) <= cookieAt || len(d) > cookieAt+maxCookie {
		return false
	}
	be := binary.BigEndian
	const dtls10, helloVerify = 0xfeff, 3
	mseq := be.Uint16(d[mseqAt:])
	body := len(d) - bodyAt
	return d[0] == 22 && be.Uint16(d[1:]) == dtls10 && be.Uint16(d[3:]) == 0 && // handshake, version, epoch 0
		mseq <= 1 && get48(d[rseqAt:]) == sequence(ip, key, byte(mseq)) &&
		int(be.Uint16(d[recordLenAt:])) == len(d)-recordHeader &&
		d[messageTypeAt] == helloVerify &&
		get24(d[messageLenAt:]) == body && get24(d[offsetAt:]) == 0 && get24(d[fragmentLenAt:]) == body &&
		be.Uint16(d[bodyAt:]) == dtls10 && int(d[cookieAt-1]) == len(d)-cookieAt
}

func get24(b []byte) int { return int(b[0])<<16 | int(binary.BigEndian.Uint16(b[1:])) }
