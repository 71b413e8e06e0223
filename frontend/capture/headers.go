package capture

import (
	"encoding/binary"
	"net/netip"
)

// Sizes of headers without options.
const (
	ethernetHeader = 14
	udpHeader      = 8
	ipv4Header     = 20
	ipv6Header     = 40
)

// Ethertypes.
const typeIPv4, typeIPv6 = 0x0800, 0x86dd

// protocolUDP is UDP's number (RFC 768), hopLimit the one that most systems send with.
const protocolUDP, hopLimit = 17, 64

// PutHeaders writes the IP and UDP headers of a datagram of n bytes that begins with data, after an Ethernet header without
// addresses if asked for, and returns their length. b has room for 62 bytes. The UDP checksum is 0, which means none, if data
// are not complete or IPv4 allows it.
func PutHeaders(b []byte, ethernet bool, from, to netip.AddrPort, n int, data []byte) int {
	source, destination := from.Addr().Unmap(), to.Addr().Unmap()
	if ethernet {
		clear(b[:ethernetHeader])
		kind := uint16(typeIPv6)
		if source.Is4() && destination.Is4() {
			kind = typeIPv4
		}
		binary.BigEndian.PutUint16(b[ethernetHeader-2:], kind)
		return ethernetHeader + PutHeaders(b[ethernetHeader:], false, from, to, n, data)
	}
	at := ipv4Header
	if source.Is4() && destination.Is4() {
		clear(b[:ipv4Header])
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(ipv4Header+udpHeader+n))
		b[6] = 0x40 // don't fragment
		b[8], b[9] = hopLimit, protocolUDP
		copy(b[12:], source.AsSlice())
		copy(b[16:], destination.AsSlice())
		binary.BigEndian.PutUint16(b[10:], ^fold(sum(0, b[:ipv4Header])))
	} else {
		clear(b[:ipv6Header])
		at = ipv6Header
		b[0] = 0x60
		binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+n))
		b[6], b[7] = protocolUDP, hopLimit
		s, d := source.As16(), destination.As16()
		copy(b[8:], s[:])
		copy(b[24:], d[:])
	}
	udp := b[at : at+udpHeader]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(udpHeader+n))
	udp[6], udp[7] = 0, 0
	if at == ipv6Header && n == len(data) {
		s := sum(sum(sum(uint32(udpHeader+n)+protocolUDP, b[8:ipv6Header]), udp), data)
		check := ^fold(s)
		if check == 0 { // 0 would mean that there is none (RFC 768)
			check = 0xffff
		}
		binary.BigEndian.PutUint16(udp[6:], check)
	}
	return at + udpHeader
}

// sum adds the 16-bit words of b to s (RFC 1071).
func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
