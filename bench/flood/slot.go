package flood

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bench/answer"
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

// right reports whether d is the HelloVerifyRequest that a ClientHello from ip must get. lengths are those of the
// questions, by their message_seq.
func right(d []byte, ip uint32, key uint64, lengths *[2]int) bool {
	if len(d) < bodyAt {
		return false
	}
	mseq := binary.BigEndian.Uint16(d[mseqAt:])
	if int(mseq) >= len(lengths) {
		return false
	}
	_, fault := answer.Check(d, answer.Question{Length: lengths[mseq], RecordSeq: sequence(ip, key, byte(mseq)), MessageSeq: mseq})
	return fault == answer.None
}
