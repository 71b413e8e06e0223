package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Flow is where frames go and where they say they come from.
type Flow struct {
	Interface   *net.Interface   // to send from: the near end of a link to the target
	Peer        net.HardwareAddr // the far end
	Destination netip.AddrPort
	Sources     netip.Prefix // of the destination's family, at most 32 bits of it vary
	Ports       Ports        // of the sources
}

// Ports is a range of ports, ends included. The zero value is DefaultPorts.
type Ports struct{ First, Last uint16 }

// DefaultPorts are 32768, none that a client's kernel or a service would think its own.
var DefaultPorts = Ports{0x4000, 0xbfff}

// Range is the first port and how many there are.
func (p Ports) Range() (first uint16, n int) {
	if p == (Ports{}) {
		p = DefaultPorts
	}
	return p.First, int(p.Last) - int(p.First) + 1
}

// Lengths of headers, and the fields of them that are written apart from the rest.
const (
	ethernet    = 14
	ipv4        = 20
	ipv6        = 40
	udpHeader   = 8
	ttl         = 64
	protocolUDP = 17
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
)

const (
	// MaxFrame is a full Ethernet frame and some (FRAME of flood.bpf.c).
	MaxFrame = 1536
	// MaxDatagram leaves room for headers, and for the 8 bytes that the kernel's frames come too long.
	MaxDatagram = MaxFrame - 8 - ethernet - ipv6 - udpHeader
)

// Check says what is wrong with f.
func (f *Flow) Check() error {
	switch {
	case f.Interface == nil || len(f.Interface.HardwareAddr) != 6 || len(f.Peer) != 6:
		return errors.New("want an Ethernet interface and the address of its peer")
	case !f.Destination.IsValid() || f.Destination.Port() == 0:
		return fmt.Errorf("destination %v: want an address and port", f.Destination)
	case !f.Sources.IsValid() || f.Sources.Addr().Is4() != f.Destination.Addr().Is4():
		return fmt.Errorf("sources %v: want a prefix of the destination's family", f.Sources)
	case f.Sources.Addr().BitLen()-f.Sources.Bits() > 32:
		return fmt.Errorf("sources %v: want at least /%d", f.Sources, f.Sources.Addr().BitLen()-32)
	case f.Ports != Ports{} && (f.Ports.First == 0 || f.Ports.First > f.Ports.Last):
		return fmt.Errorf("source ports %d to %d: want 1 to 65535, the smaller first", f.Ports.First, f.Ports.Last)
	}
	return nil
}

// Layout is where fields are in f's frames.
type Layout struct {
	EtherType        uint16
	UDPAt            int
	SourceAt, DestAt int // last 4 bytes of the addresses
	CheckAt          int // IPv4 header checksum; 0: none
}

// PayloadAt is where the datagram begins.
func (l Layout) PayloadAt() int { return l.UDPAt + udpHeader }

// Layout is that of the destination's family.
func (f *Flow) Layout() Layout {
	if f.Destination.Addr().Is4() {
		return Layout{etherIPv4, ethernet + ipv4, ethernet + 12, ethernet + 16, ethernet + 10}
	}
	return Layout{etherIPv6, ethernet + ipv6, ethernet + 20, ethernet + 36, 0}
}

// Vary is the part of the source address that varies.
func (f *Flow) Vary() uint32 {
	bits := f.Sources.Addr().BitLen() - f.Sources.Bits()
	return uint32(uint64(1)<<bits - 1)
}

// Source makes a source of a random number, as flood.bpf.c does: the address of its lower half, the port of the
// upper.
func (f *Flow) Source(random uint64) netip.AddrPort {
	a := f.Sources.Masked().Addr().AsSlice()
	last := a[len(a)-4:]
	ne := binary.NativeEndian
	ne.PutUint32(last, ne.Uint32(last)|uint32(random)&NetworkOrder(f.Vary()))
	address, _ := netip.AddrFromSlice(a)
	first, n := f.Ports.Range()
	return netip.AddrPortFrom(address, first+uint16((random>>48)*uint64(n)>>16))
}

// Skeleton builds the frame with the fields that vary and the checksums zero.
func (f *Flow) Skeleton(t *Template) []byte {
	be := binary.BigEndian
	length := udpHeader + len(t.Bytes)
	b := slices.Concat([]byte(f.Peer), []byte(f.Interface.HardwareAddr))
	source := f.Sources.Masked().Addr().AsSlice()
	if l := f.Layout(); l.EtherType == etherIPv4 {
		b = be.AppendUint16(b, etherIPv4)
		b = be.AppendUint16(append(b, 0x45, 0), uint16(ipv4+length))
		b = append(b, 0, 0, 0x40, 0, ttl, protocolUDP, 0, 0) // no id, do not fragment
	} else {
		b = be.AppendUint16(b, etherIPv6)
		b = be.AppendUint16(append(b, 0x60, 0, 0, 0), uint16(length))
		b = append(b, protocolUDP, ttl)
	}
	b = slices.Concat(b, source, f.Destination.Addr().AsSlice())
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, f.Destination.Port())
	b = be.AppendUint16(b, uint16(length))
	b = be.AppendUint16(b, 0)
	payload := slices.Clone(t.Bytes)
	if t.SeqAt != 0 {
		payload[t.SeqAt] = 0
	}
	if t.RandomAt != 0 {
		clear(payload[t.RandomAt : t.RandomAt+8])
	}
	return append(b, payload...)
}

// Sums are those of the constant parts of IPv4 header and of pseudo header and datagram, of words in the
// byte order of this machine, as the program adds what varies in that order.
func (f *Flow) Sums(frame []byte) (ip, udp uint32) {
	l := f.Layout()
	b := slices.Clone(frame)
	clear(b[l.SourceAt : l.SourceAt+4]) // its constant bits are added with the others
	ip = sum(b[ethernet:l.UDPAt])
	addresses := b[l.UDPAt-2*len(f.Destination.Addr().AsSlice()) : l.UDPAt]
	pseudo := []byte{0, protocolUDP, b[l.UDPAt+4], b[l.UDPAt+5]}
	return ip, sum(addresses) + sum(pseudo) + sum(b[l.UDPAt:])
}

func sum(b []byte) (s uint32) {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.NativeEndian.Uint16(b[i:]))
	}
	if len(b)%2 != 0 {
		s += uint32(binary.NativeEndian.Uint16([]byte{b[len(b)-1], 0}))
	}
	return s
}

// Datagram is what source sends, if it is a source of f and t the template.
func (f *Flow) Datagram(t *Template, source netip.AddrPort) []byte {
	d := slices.Clone(t.Bytes)
	fill(d, t, source)
	return d
}

// AppendFrame appends to b the frame with what source sends, checksums included.
func (f *Flow) AppendFrame(b []byte, t *Template, source netip.AddrPort) []byte {
	from := len(b)
	b = append(b, f.Skeleton(t)...)
	frame, l := b[from:], f.Layout()
	be := binary.BigEndian
	ip, udp := f.Sums(frame)
	address := source.Addr().AsSlice()
	copy(frame[l.SourceAt:], address[len(address)-4:])
	be.PutUint16(frame[l.UDPAt:], source.Port())
	fill(frame[l.PayloadAt():], t, source)
	ip += sum(frame[l.SourceAt : l.SourceAt+4])
	udp += sum(frame[l.SourceAt:l.SourceAt+4]) + sum(frame[l.UDPAt:l.UDPAt+2])
	if t.SeqAt != 0 {
		at := l.PayloadAt() + t.SeqAt
		udp += sum(frame[at : at+1])
	}
	if t.RandomAt != 0 {
		at := l.PayloadAt() + t.RandomAt
		udp += sum(frame[at : at+8])
	}
	if l.CheckAt != 0 {
		binary.NativeEndian.PutUint16(frame[l.CheckAt:], ^fold(ip))
	}
	check := ^fold(udp)
	if check == 0 { // which would stand for: none (RFC 768)
		check = 0xffff
	}
	binary.NativeEndian.PutUint16(frame[l.UDPAt+6:], check)
	return b
}

// fold makes a checksum of a sum (RFC 1071 section 2).
func fold(s uint32) uint16 {
	s = s&0xffff + s>>16
	return uint16(s&0xffff + s>>16)
}

// fill sets what varies in d, which is of t.
func fill(d []byte, t *Template, source netip.AddrPort) {
	if t.SeqAt != 0 {
		d[t.SeqAt] = byte(source.Port())
	}
	if t.RandomAt != 0 {
		binary.NativeEndian.PutUint64(d[t.RandomAt:], spreadOf(source))
	}
}

// spreadOf is a number that follows from source and looks random.
func spreadOf(source netip.AddrPort) uint64 {
	address := source.Addr().AsSlice()
	word := binary.NativeEndian.Uint32(address[len(address)-4:])
	return (uint64(word)<<16 | uint64(NetworkOrder16(source.Port()))) * Spread
}

// NetworkOrder is v as a program reads it from a frame.
func NetworkOrder(v uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, v))
}

// NetworkOrder16 is v as a program reads it from a frame.
func NetworkOrder16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
