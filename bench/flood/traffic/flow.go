package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Flow has the addresses of frames.
type Flow struct {
	Interface   *net.Interface   // to send from: this end of a link to the target
	Peer        net.HardwareAddr // the other end
	Destination netip.AddrPort
	Sources     netip.Prefix // of the destination's family; at most 32 bits vary
	Ports       Ports        // of the sources
}

// Ports is a range of ports, both ends included. The zero value is DefaultPorts.
type Ports struct{ First, Last uint16 }

// DefaultPorts are 32768 ports outside the usual ephemeral and service ranges.
var DefaultPorts = Ports{0x4000, 0xbfff}

// Range returns the first port and the number of ports.
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
	// MaxFrame is more than a full Ethernet frame (FRAME of flood.bpf.c).
	MaxFrame = 1536
	// MaxDatagram leaves room for headers, and for the 8 bytes that the kernel's frames are longer.
	MaxDatagram = MaxFrame - 8 - ethernet - ipv6 - udpHeader
)

// Check returns the first mistake in f.
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

// Layout has the offsets of fields in f's frames.
type Layout struct {
	EtherType        uint16
	UDPAt            int
	SourceAt, DestAt int // last 4 bytes of the addresses
	CheckAt          int // IPv4 header checksum; 0: none
}

// PayloadAt is the offset of the datagram.
func (l Layout) PayloadAt() int { return l.UDPAt + udpHeader }

// Layout returns the layout for the destination's family.
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

// Source derives a source from a random number, as flood.bpf.c does: the address from the lower half, the port from the
// upper.
func (f *Flow) Source(random uint64) netip.AddrPort {
	first, n := f.Ports.Range()
	return netip.AddrPortFrom(f.SourceAddress(random), first+uint16((random>>48)*uint64(n)>>16))
}

// SourceAddress is that of [Flow.Source] without its port.
func (f *Flow) SourceAddress(random uint64) netip.Addr {
	a := f.Sources.Addr().As16()
	last, vary := a[12:], NetworkOrder(f.Vary())
	ne := binary.NativeEndian
	ne.PutUint32(last, ne.Uint32(last)&^vary|uint32(random)&vary)
	return f.family(netip.AddrFrom16(a))
}

// family returns a in the form of the destination.
func (f *Flow) family(a netip.Addr) netip.Addr {
	if f.Destination.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

// Skeleton builds the frame, with zeroes for varying fields and checksums.
func (f *Flow) Skeleton(t *Template) []byte {
	b := f.headers(len(t.Bytes))
	payload := slices.Clone(t.Bytes)
	if t.SeqAt != 0 {
		payload[t.SeqAt] = 0
	}
	if t.RandomAt != 0 {
		clear(payload[t.RandomAt : t.RandomAt+8])
	}
	return append(b, payload...)
}

// Sums are the sums of the constant parts of the IPv4 header and of pseudo header and datagram, as words in this
// machine's byte order: the program adds the varying fields in that order.
func (f *Flow) Sums(frame []byte) (ip, udp uint32) {
	l := f.Layout()
	b := slices.Clone(frame)
	clear(b[l.SourceAt : l.SourceAt+4]) // its constant bits are added with the varying ones
	ip = uint32(fold(sum(b[ethernet:l.UDPAt])))
	return ip, uint32(fold(l.pseudo(b) + sum(b[l.UDPAt:])))
}

// Datagram is what source sends, if it is a source of f and sends template t.
func (f *Flow) Datagram(t *Template, source netip.AddrPort) []byte { return t.Append(nil, source) }

// AppendFrame appends to b the frame of source, checksums included.
func (f *Flow) AppendFrame(b []byte, t *Template, source netip.AddrPort) []byte {
	return f.Envelope().Append(b, source, t.Append(nil, source))
}

// spreadOf derives a number that looks random from source.
func spreadOf(source netip.AddrPort) uint64 {
	address := source.Addr().As16()
	word := binary.NativeEndian.Uint32(address[12:])
	return (uint64(word)<<16 | uint64(NetworkOrder16(source.Port()))) * Spread
}

// NetworkOrder is v as a program loads it from a frame.
func NetworkOrder(v uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return binary.NativeEndian.Uint32(b[:])
}

// NetworkOrder16 is v as a program loads it from a frame.
func NetworkOrder16(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
