package bpf

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// frameMaker makes near-valid UDP datagrams to a service as Ethernet frames: tags, options, extension headers,
// wrong lengths, fragments in any order, and bytes changed at random.
type frameMaker struct {
	r        *rand.Rand
	macs     [12]byte
	families [2]family // IPv4, IPv6
	payloads [][]byte
	sports   []uint16
	dports   []uint16
	ids      uint32 // few, so that fragments of different datagrams meet
}

// family has the addresses of one IP version.
type family struct {
	client           netip.Addr
	service, another netip.Addr // of the host: protected, and not
}

// one returns true with probability 1/n.
func (m *frameMaker) one(n int) bool { return m.r.IntN(n) == 0 }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// next makes the frames of one datagram: one, or its fragments.
func (m *frameMaker) next() [][]byte {
	v6 := m.one(2)
	f := m.families[0]
	if v6 {
		f = m.families[1]
	}
	dst := f.service
	if m.one(16) {
		dst = f.another
	}
	d := m.udp(f.client, dst, v6)
	var packets [][]byte
	switch {
	case v6:
		packets = m.packets6(f, dst, d)
	case m.one(4):
		packets = m.fragments(d, func(part []byte, offset int, more bool, id uint32) []byte {
			frag := uint16(offset / 8)
			if more {
				frag |= 0x2000
			}
			return m.ipv4(f, dst, part, frag, uint16(id))
		})
	default:
		packets = [][]byte{m.ipv4(f, dst, d, pick(m.r, uint16(0), 0x4000, 0x4000, 0x8000), 7)}
	}
	for i, p := range packets {
		packets[i] = m.frame(p, v6)
	}
	return packets
}

// lie returns n, or with probability 1/often another number.
func (m *frameMaker) lie(n, often int) int {
	if !m.one(often) {
		return n
	}
	return max(0, pick(m.r, 0, 7, 8, n-1, n+1, n-8, n+8, n/2, m.r.IntN(2000), 65535))
}

// udp makes a UDP datagram, header included.
func (m *frameMaker) udp(src, dst netip.Addr, v6 bool) []byte {
	be := binary.BigEndian
	payload := pick(m.r, m.payloads...)
	d := be.AppendUint16(nil, pick(m.r, m.sports...))
	d = be.AppendUint16(d, pick(m.r, m.dports...))
	length := m.lie(8+len(payload), 8)
	d = be.AppendUint16(d, uint16(length))
	d = append(append(d, 0, 0), payload...)
	covered := d[:min(max(length, 8), len(d))] // what a receiver sums up
	if length == 0 && v6 {
		covered = d
	}
	switch {
	case m.one(8):
	case m.one(16):
		d[7]++
	default:
		sum := checksum(pseudo(src, dst, len(covered)), covered)
		if sum == 0 {
			sum = 0xffff
		}
		be.PutUint16(d[6:], sum)
	}
	return d
}

// ipv4 prepends a header to body.
func (m *frameMaker) ipv4(f family, dst netip.Addr, body []byte, frag, id uint16) []byte {
	be := binary.BigEndian
	var options []byte
	if m.one(4) {
		options = m.options(f)
		if m.one(4) {
			dst = f.another
		}
	}
	header := 20 + len(options)
	ip := []byte{0x40 | byte(header/4), byte(m.r.Uint32())}
	ip = be.AppendUint16(ip, uint16(m.lie(header+len(body), 12)))
	ip = be.AppendUint16(ip, id)
	ip = be.AppendUint16(ip, frag)
	protocol := byte(17)
	if m.one(64) {
		protocol = pick[byte](m.r, 6, 136, 4, 50, 51, 0)
	}
	ip = append(ip, pick[byte](m.r, 64, 64, 64, 1, 255), protocol, 0, 0)
	ip = append(append(ip, f.client.AsSlice()...), dst.AsSlice()...)
	ip = append(ip, options...)
	m.change(ip, 12)
	size := min(len(ip), max(20, int(ip[0]&15)*4))
	be.PutUint16(ip[10:], checksum(0, slices.Concat(ip[:10], []byte{0, 0}, ip[12:size])))
	if m.one(32) {
		ip[11]++
	}
	return append(ip, body...)
}

// options makes up to 40 bytes of IPv4 options: routes, records, time stamps, alerts, padding and nonsense.
func (m *frameMaker) options(f family) (o []byte) {
	for len(o) < 36 && !m.one(3) {
		switch m.r.IntN(6) {
		case 0:
			o = append(o, 1)
		case 1: // loose and strict source routes
			hop := f.service.As4()
			o = append(o, pick[byte](m.r, 131, 137), 7, pick[byte](m.r, 4, 4, 8), hop[0], hop[1], hop[2], hop[3])
		case 2:
			o = append(o, 7, 7, pick[byte](m.r, 4, 8), 0, 0, 0, 0)
		case 3:
			o = append(o, 148, 4, 0, 0)
		case 4:
			o = append(o, 68, 8, 5, 0, 0, 0, 0, 0)
		case 5:
			o = append(o, byte(m.r.Uint32()), byte(m.r.IntN(9)))
		}
	}
	o = o[:min(len(o), 40)]
	for len(o)%4 != 0 {
		o = append(o, 0)
	}
	return o
}

// fragments cuts d into pieces of a multiple of 8 bytes, and doubles, drops, shifts and shuffles them. Now and then
// it is whole, or begins with a fragment of another datagram with the same id.
func (m *frameMaker) fragments(d []byte, wrap func(part []byte, offset int, more bool, id uint32) []byte) (p [][]byte) {
	id := m.ids + uint32(m.r.IntN(3))
	if m.one(8) {
		m.ids++
	}
	for at := 0; at < len(d); {
		n := min(len(d)-at, 8*(1+m.r.IntN(12)))
		more := at+n < len(d)
		if m.one(16) {
			more = !more
		}
		offset := at
		if m.one(16) {
			offset = max(0, at+pick(m.r, -8, 8, -16))
		}
		for range pick(m.r, 1, 1, 1, 1, 1, 1, 2, 0) {
			p = append(p, wrap(d[at:at+n], offset, more, id))
		}
		at += n
	}
	if m.one(8) { // to a port that is nobody's, to open the way for the rest
		other := slices.Clone(d[:min(len(d), 16)])
		binary.BigEndian.PutUint16(other[2:], 53)
		p = slices.Insert(p, 0, wrap(other[:len(other)/8*8], 0, true, id))
	}
	if m.one(4) {
		m.r.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	}
	return p
}

// packets6 makes IPv6 packets: a chain of extension headers, in fragments or not.
func (m *frameMaker) packets6(f family, dst netip.Addr, d []byte) [][]byte {
	next := byte(17)
	if m.one(64) {
		next = pick[byte](m.r, 6, 58, 59, 136, 41, 4)
	}
	if m.one(3) {
		for range m.r.IntN(4) {
			d, next = m.extension(f, d, next)
		}
	}
	if !m.one(4) {
		return [][]byte{m.ipv6(f, dst, d, next)}
	}
	inner := next
	return m.fragments(d, func(part []byte, offset int, more bool, id uint32) []byte {
		h := []byte{inner, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(offset))
		if more {
			h[3] |= 1
		}
		h = binary.BigEndian.AppendUint32(h, id)
		b := append(h, part...)
		next := byte(44)
		if m.one(16) { // one in the other
			b = append([]byte{44, 0, 0, pick[byte](m.r, 0, 1), 0, 0, 0, 1}, b...)
		}
		return m.ipv6(f, dst, b, next)
	})
}

// extension prepends an extension header to d, whose own is next.
func (m *frameMaker) extension(f family, d []byte, next byte) ([]byte, byte) {
	var h []byte
	kind := pick[byte](m.r, 0, 43, 43, 60, 60, 60, 44, 51, 135, 59, 139)
	switch kind {
	case 43:
		hop := f.service.AsSlice()
		h = append([]byte{next, 2, pick[byte](m.r, 4, 4, 0, 2, 3), pick[byte](m.r, 0, 1), 0, 0, 0, 0}, hop...)
	case 44:
		h = []byte{next, 0, 0, 0, 0, 0, 0, byte(m.r.IntN(3))}
	case 51:
		h = append([]byte{next, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, make([]byte, 12)...)
	default:
		n := m.r.IntN(3)
		h = append([]byte{next, byte(n), 1, byte(4 + 8*n)}, make([]byte, 4+8*n)...) // PadN
		if m.one(8) {
			h = []byte{next, 0, 0xc2, 4, 0, 0, 0, byte(len(d) + 8)} // a jumbo payload (RFC 2675)
		}
	}
	m.change(h, 8)
	return append(h, d...), kind
}

// ipv6 prepends a header to body.
func (m *frameMaker) ipv6(f family, dst netip.Addr, body []byte, next byte) []byte {
	be := binary.BigEndian
	if m.one(6) { // hop-by-hop options are first, or nowhere
		body, next = append([]byte{next, 0, 1, 4, 0, 0, 0, 0}, body...), 0
	}
	length := m.lie(len(body), 12)
	if next == 0 && m.one(3) {
		length = 0
	}
	if m.one(16) {
		dst = f.another
	}
	ip := []byte{0x60, 0, 0, 0}
	ip = be.AppendUint16(ip, uint16(length))
	ip = append(ip, next, pick[byte](m.r, 64, 64, 64, 1, 255))
	ip = append(append(ip, f.client.AsSlice()...), dst.AsSlice()...)
	m.change(ip, 16)
	return append(ip, body...)
}

// change alters a byte or two of h, with probability 1/often.
func (m *frameMaker) change(h []byte, often int) {
	if !m.one(often) {
		return
	}
	for range 1 + m.r.IntN(2) {
		h[m.r.IntN(len(h))] = byte(m.r.Uint32())
	}
}

// frame puts an Ethernet header with tags before a packet, and padding after it.
func (m *frameMaker) frame(p []byte, v6 bool) []byte {
	be := binary.BigEndian
	f := slices.Clone(m.macs[:])
	if m.one(3) {
		for range m.r.IntN(7) {
			f = be.AppendUint16(f, pick[uint16](m.r, 0x8100, 0x8100, 0x88a8))
			f = be.AppendUint16(f, pick[uint16](m.r, 0, 0, 0, 0xe000, 7))
		}
	}
	kind := uint16(0x0800)
	if v6 {
		kind = 0x86dd
	}
	switch m.r.IntN(96) {
	case 0:
		f = append(be.AppendUint16(f, 0x8864), 0x11, 0, 0, 1) // PPPoE
		f = be.AppendUint16(f, uint16(2+len(p)))
		kind = pick[uint16](m.r, 0x21, 0x57)
	case 1:
		f = append(be.AppendUint16(f, 0x8847), 0, 0, 0, 64) // MPLS
		kind = pick[uint16](m.r, 0x0101, 0x0001)
	case 2:
		f = append(be.AppendUint16(f, uint16(8+len(p))), 0xaa, 0xaa, 3, 0, 0, 0) // SNAP
	case 3:
		kind = uint16(m.r.Uint32())
	}
	f = append(be.AppendUint16(f, kind), p...)
	m.change(f[12:], 24)
	if m.one(4) {
		f = append(f, make([]byte, m.r.IntN(40))...)
	}
	if m.one(64) {
		f = f[:14+m.r.IntN(len(f)-13)]
	}
	return f
}
