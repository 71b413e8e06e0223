package gen

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
	maxFrame    = 192 * 8 // MAX_WORDS of flood.bpf.c
	maxDatagram = maxFrame - 8 - ethernet - ipv6 - udpHeader
)

func (f *Flow) check() error {
	switch {
	case f.Interface == nil || len(f.Interface.HardwareAddr) != 6 || len(f.Peer) != 6:
		return errors.New("want an Ethernet interface and the address of its peer")
	case !f.Destination.IsValid() || f.Destination.Port() == 0:
		return fmt.Errorf("destination %v: want an address and port", f.Destination)
	case !f.Sources.IsValid() || f.Sources.Addr().Is4() != f.Destination.Addr().Is4():
		return fmt.Errorf("sources %v: want a prefix of the destination's family", f.Sources)
	case f.Sources.Addr().BitLen()-f.Sources.Bits() > 32:
		return fmt.Errorf("sources %v: want at least /%d", f.Sources, f.Sources.Addr().BitLen()-32)
	}
	return nil
}

// layout is where fields are in f's frames.
type layout struct {
	etherType        uint16
	udpAt            int
	sourceAt, destAt int // last 4 bytes of the addresses
	checkAt          int // IPv4 header checksum
}

func (f *Flow) layout() layout {
	if f.Destination.Addr().Is4() {
		return layout{etherIPv4, ethernet + ipv4, ethernet + 12, ethernet + 16, ethernet + 10}
	}
	return layout{etherIPv6, ethernet + ipv6, ethernet + 20, ethernet + 36, 0}
}

// vary is the part of the source address that the program sets, as it is in the frame.
func (f *Flow) vary() uint32 {
	bits := f.Sources.Addr().BitLen() - f.Sources.Bits()
	return uint32(uint64(1)<<bits - 1)
}

// frame builds the frame with the fields that vary and the checksums zero.
func (f *Flow) frame(t *Template) []byte {
	be := binary.BigEndian
	length := udpHeader + len(t.datagram)
	b := slices.Concat([]byte(f.Peer), []byte(f.Interface.HardwareAddr))
	source := f.Sources.Masked().Addr().AsSlice()
	if l := f.layout(); l.etherType == etherIPv4 {
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
	payload := slices.Clone(t.datagram)
	if t.seqAt != 0 {
		payload[t.seqAt] = 0
	}
	if t.randomAt != 0 {
		clear(payload[t.randomAt : t.randomAt+8])
	}
	return append(b, payload...)
}

// sums are those of the constant parts of IPv4 header and of pseudo header and datagram, of words in the
// byte order of this machine, as the program adds what varies in that order.
func (f *Flow) sums(frame []byte) (ip, udp uint32) {
	l := f.layout()
	b := slices.Clone(frame)
	clear(b[l.sourceAt : l.sourceAt+4]) // its constant bits are added with the others
	ip = sum(b[ethernet:l.udpAt])
	addresses := b[l.udpAt-2*len(f.Destination.Addr().AsSlice()) : l.udpAt]
	pseudo := []byte{0, protocolUDP, b[l.udpAt+4], b[l.udpAt+5]}
	return ip, sum(addresses) + sum(pseudo) + sum(b[l.udpAt:])
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

// Datagram is what the generator sends from source, if it is a source of f and t the template.
func (f *Flow) Datagram(t *Template, source netip.AddrPort) []byte {
	d := slices.Clone(t.datagram)
	address := source.Addr().AsSlice()
	word := binary.NativeEndian.Uint32(address[len(address)-4:])
	port := networkOrder16(source.Port())
	if t.seqAt != 0 {
		d[t.seqAt] = byte(source.Port())
	}
	if t.randomAt != 0 {
		binary.NativeEndian.PutUint64(d[t.randomAt:], (uint64(word)<<16|uint64(port))*spread)
	}
	return d
}

// networkOrder is v as a program reads it from a frame.
func networkOrder(v uint32) uint32 {
	return binary.NativeEndian.Uint32(binary.BigEndian.AppendUint32(nil, v))
}

func networkOrder16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
