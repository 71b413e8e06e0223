package traffic

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// headers returns the headers of a frame with a datagram of size bytes, with zeroes for varying fields and checksums.
func (f *Flow) headers(datagram int) []byte {
	be := binary.BigEndian
	length := udpHeader + datagram
	b := slices.Concat([]byte(f.Peer), []byte(f.Interface.HardwareAddr))
	if f.Destination.Addr().Is4() {
		b = be.AppendUint16(b, etherIPv4)
		b = be.AppendUint16(append(b, 0x45, 0), uint16(ipv4+length))
		b = append(b, 0, 0, 0x40, 0, ttl, protocolUDP, 0, 0) // no id, don't fragment
	} else {
		b = be.AppendUint16(b, etherIPv6)
		b = be.AppendUint16(append(b, 0x60, 0, 0, 0), uint16(length))
		b = append(b, protocolUDP, ttl)
	}
	b = slices.Concat(b, f.Sources.Masked().Addr().AsSlice(), f.Destination.Addr().AsSlice())
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, f.Destination.Port())
	b = be.AppendUint16(b, uint16(length))
	return be.AppendUint16(b, 0)
}

// Envelope is the constant part of a flow's frames. It is read-only, and made once for many frames.
type Envelope struct {
	empty  []byte // a frame without a datagram
	layout Layout
}

// Envelope returns the envelope of f, which has passed Check.
func (f *Flow) Envelope() *Envelope { return &Envelope{f.headers(0), f.Layout()} }

// Append appends to b the frame with datagram, from a source of the flow, checksums included. It allocates only if b
// lacks capacity.
func (e *Envelope) Append(b []byte, source netip.AddrPort, datagram []byte) []byte {
	from, l, be := len(b), e.layout, binary.BigEndian
	b = append(append(b, e.empty...), datagram...)
	frame := b[from:]
	address := source.Addr().As16()
	copy(frame[l.SourceAt:], address[12:])
	be.PutUint16(frame[l.UDPAt:], source.Port())
	length := udpHeader + len(datagram)
	be.PutUint16(frame[l.UDPAt+4:], uint16(length))
	if l.EtherType == etherIPv4 {
		be.PutUint16(frame[ethernet+2:], uint16(ipv4+length))
		binary.NativeEndian.PutUint16(frame[l.CheckAt:], ^fold(sum(frame[ethernet:l.UDPAt])))
	} else {
		be.PutUint16(frame[ethernet+4:], uint16(length))
	}
	check := ^fold(l.pseudo(frame) + sum(frame[l.UDPAt:]))
	if check == 0 { // which would mean: no checksum (RFC 768)
		check = 0xffff
	}
	binary.NativeEndian.PutUint16(frame[l.UDPAt+6:], check)
	return b
}

// Answer splits a frame that came back into the source that it is sent to and the datagram, a part of frame. Its headers
// must be of the destination's family and as long as f's own; ok reports whether they agree with the length of the frame.
func (f *Flow) Answer(frame []byte) (source netip.AddrPort, datagram []byte, ok bool) {
	l := f.Layout()
	if len(frame) < l.PayloadAt() {
		return source, nil, false
	}
	size := len(f.Destination.Addr().AsSlice())
	address, _ := netip.AddrFromSlice(frame[l.DestAt+4-size : l.DestAt+4])
	end := l.UDPAt + int(binary.BigEndian.Uint16(frame[l.UDPAt+4:]))
	if end < l.PayloadAt() || end > len(frame) {
		return source, nil, false
	}
	return netip.AddrPortFrom(address, binary.BigEndian.Uint16(frame[l.UDPAt+2:])), frame[l.PayloadAt():end], true
}

// pseudo is the sum of a frame's pseudo header (RFC 768, RFC 8200 section 8.1).
func (l Layout) pseudo(frame []byte) uint64 {
	addresses := ethernet + ipv4 - 8
	if l.EtherType == etherIPv6 {
		addresses = ethernet + ipv6 - 32
	}
	return sum(frame[addresses:l.UDPAt]) + sum(frame[l.UDPAt+4:l.UDPAt+6]) + uint64(NetworkOrder16(protocolUDP))
}

// sum adds 16-bit words in this machine's byte order, two at a time; fold adds the carries.
func sum(b []byte) (s uint64) {
	ne := binary.NativeEndian
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(ne.Uint32(b))
	}
	if len(b) > 0 {
		var last [4]byte
		copy(last[:], b)
		s += uint64(ne.Uint32(last[:]))
	}
	return s
}

// fold turns a sum into a checksum (RFC 1071 section 2).
func fold(s uint64) uint16 {
	s = s&0xffffffff + s>>32
	s = s&0xffff + s>>16
	s = s&0xffff + s>>16
	return uint16(s&0xffff + s>>16)
}
