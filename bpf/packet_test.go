package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// packet builds frames: newPacket returns a valid one, and a test changes one thing.
type packet struct {
	VLANs      []uint16 // tag protocol identifiers, outer first
	Src, Dst   netip.AddrPort
	Options    []byte // IPv4, a multiple of 4
	Extensions []extension
	Frag       uint16 // IPv4 flags and offset field, or that of an IPv6 fragment header, if FragHeader
	FragHeader bool
	ID         uint32
	UDPLen     int // -1: as built
	TotalLen   int // of IP as its header says; -1: as built
	Padding    int // bytes after the datagram
	Payload    []byte
	Whole      []byte // the datagram that Payload begins, where they differ
	Protocol   byte
	MACs       [12]byte
	EtherType  uint16 // 0: by the address family
	Link       []byte // from the Ethernet type on, in its place
	BadHeader  bool   // IPv4: its checksum is wrong
	NoChecksum bool   // UDP's is 0
	BadUDP     bool   // UDP's checksum is wrong
}

type extension struct {
	kind byte
	body []byte // a multiple of 8 long, less the first 2 bytes
}

var (
	server4 = netip.MustParseAddrPort("198.18.0.1:4433")
	client4 = netip.MustParseAddrPort("198.18.7.9:40000")
	server6 = netip.MustParseAddrPort("[2001:db8::1]:4433")
	client6 = netip.MustParseAddrPort("[2001:db8:1:2::9]:40001")
)

func newPacket(payload []byte) *packet {
	return &packet{Src: client4, Dst: server4, UDPLen: -1, TotalLen: -1, Payload: payload, Protocol: 17,
		MACs: [12]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}}
}

func newPacket6(payload []byte) *packet {
	p := newPacket(payload)
	p.Src, p.Dst = client6, server6
	return p
}

func (p *packet) bytes() []byte {
	be := binary.BigEndian
	f := slices.Clone(p.MACs[:])
	for _, v := range p.VLANs {
		f = be.AppendUint16(f, v)
		f = append(f, 0x20, 7) // priority 1, VLAN 7
	}
	udp := be.AppendUint16(nil, p.Src.Port())
	udp = be.AppendUint16(udp, p.Dst.Port())
	length := 8 + len(p.Payload)
	if p.UDPLen >= 0 {
		length = p.UDPLen
	}
	udp = be.AppendUint16(udp, uint16(length))
	udp = append(append(udp, 0, 0), p.Payload...)
	sum := checksum(pseudo(p.Src.Addr(), p.Dst.Addr(), len(udp)), udp)
	if p.BadUDP {
		sum ^= 0x0101
	}
	if sum == 0 {
		sum = 0xffff
	}
	if !p.NoChecksum {
		be.PutUint16(udp[6:], sum)
	}
	type4, type6 := uint16(0x0800), uint16(0x86dd)
	if p.EtherType != 0 {
		type4, type6 = p.EtherType, p.EtherType
	}
	switch {
	case p.Link != nil && p.Src.Addr().Is4():
		f = append(append(f, p.Link...), p.ipv4(udp)...)
	case p.Link != nil:
		f = append(append(f, p.Link...), p.ipv6(udp)...)
	case p.Src.Addr().Is4():
		f = append(be.AppendUint16(f, type4), p.ipv4(udp)...)
	default:
		f = append(be.AppendUint16(f, type6), p.ipv6(udp)...)
	}
	return append(f, make([]byte, p.Padding)...)
}

func (p *packet) ipv4(udp []byte) []byte {
	be := binary.BigEndian
	ihl := 20 + len(p.Options)
	total := ihl + len(udp)
	if p.TotalLen >= 0 {
		total = p.TotalLen
	}
	ip := []byte{byte(0x40 | ihl/4), 0}
	ip = be.AppendUint16(ip, uint16(total))
	ip = be.AppendUint16(ip, uint16(p.ID))
	ip = be.AppendUint16(ip, p.Frag)
	ip = append(ip, 61, p.Protocol, 0, 0)
	ip = append(append(ip, p.Src.Addr().AsSlice()...), p.Dst.Addr().AsSlice()...)
	ip = append(ip, p.Options...)
	be.PutUint16(ip[10:], checksum(0, ip))
	if p.BadHeader {
		ip[10]++
	}
	return append(ip, udp...)
}

func (p *packet) ipv6(udp []byte) []byte {
	be := binary.BigEndian
	var exts []byte
	kinds := make([]byte, 0, 10)
	for _, e := range p.Extensions {
		kinds = append(kinds, e.kind)
		exts = append(append(exts, 0, byte(len(e.body)/8)), e.body...)
	}
	if p.FragHeader {
		kinds = append(kinds, 44)
		exts = append(exts, 0, 0)
		exts = be.AppendUint32(be.AppendUint16(exts, p.Frag), p.ID)
	}
	kinds = append(kinds, p.Protocol)
	at := 0
	for i := range len(kinds) - 1 { // each header names the next
		exts[at] = kinds[i+1]
		size := 8 * (int(exts[at+1]) + 1)
		at += size
	}
	total := len(exts) + len(udp)
	if p.TotalLen >= 0 {
		total = p.TotalLen
	}
	ip := []byte{0x60, 0, 0, 0}
	ip = be.AppendUint16(ip, uint16(total))
	ip = append(ip, kinds[0], 61)
	ip = append(append(ip, p.Src.Addr().AsSlice()...), p.Dst.Addr().AsSlice()...)
	return append(append(ip, exts...), udp...)
}

// pseudo returns the sum of the pseudo header for UDP (RFC 768, RFC 8200 section 8.1).
func pseudo(src, dst netip.Addr, length int) uint32 {
	sum := uint32(17 + length)
	for _, a := range [][]byte{src.AsSlice(), dst.AsSlice()} {
		for i := 0; i < len(a); i += 2 {
			sum += uint32(a[i])<<8 | uint32(a[i+1])
		}
	}
	return sum
}

// checksum is the Internet checksum by its definition (RFC 1071).
func checksum(sum uint32, b []byte) uint16 {
	for i, c := range b {
		if i%2 == 0 {
			sum += uint32(c) << 8
		} else {
			sum += uint32(c)
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
