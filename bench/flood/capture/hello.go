package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// packets reads a capture: it returns the next packet and its link layer type.
type packets func() ([]byte, layers.LinkType, error)

// First four bytes of captures, in either byte order (draft-ietf-opsawg-pcap section 4, draft-ietf-opsawg-pcapng
// section 4.1).
const (
	pcapMicroseconds = 0xa1b2c3d4
	pcapNanoseconds  = 0xa1b23c4d
	pcapngSection    = 0x0a0d0d0a
)

// open returns nil if text is not a capture.
func open(text []byte) (packets, error) {
	if len(text) < 4 {
		return nil, nil
	}
	big, little := binary.BigEndian.Uint32(text), binary.LittleEndian.Uint32(text)
	is := func(magic uint32) bool { return big == magic || little == magic }
	switch {
	case is(pcapngSection):
		r, err := pcapgo.NewNgReader(bytes.NewReader(text), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return nil, fmt.Errorf("open as pcapng: %w", err)
		}
		return func() ([]byte, layers.LinkType, error) {
			data, info, err := r.ReadPacketData()
			if err != nil {
				return nil, 0, err
			}
			dev, err := r.Interface(info.InterfaceIndex)
			return data, dev.LinkType, err
		}, nil
	case is(pcapMicroseconds) || is(pcapNanoseconds):
		r, err := pcapgo.NewReader(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("open as pcap: %w", err)
		}
		return func() ([]byte, layers.LinkType, error) {
			data, _, err := r.ReadPacketData()
			return data, r.LinkType(), err
		}, nil
	}
	return nil, nil
}

// firstHello finds the first ClientHello without a cookie, with all its fragments.
func firstHello(next packets) ([][]byte, error) {
	var found [][]byte
	var client [2]gopacket.Flow
	cookies := 0
	for n := 1; ; n++ {
		data, link, err := next()
		switch {
		case errors.Is(err, io.EOF) && found != nil:
			return nil, errors.New("the ClientHello in it is in fragments, and the last is missing")
		case errors.Is(err, io.EOF) && cookies != 0:
			return nil, fmt.Errorf("all %d ClientHellos in it have a cookie; want a client's first", cookies)
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("no ClientHello of DTLS in its %d packets", n-1)
		case err != nil:
			return nil, fmt.Errorf("packet %d: %w", n, err)
		}
		from, d := datagram(data, link)
		var h hello.ClientHello
		switch r := hello.Parse(d, &h); {
		case found == nil && r == hello.OK && len(h.Cookie) != 0:
			cookies++
		case found == nil && r == hello.OK:
			found, client = [][]byte{slices.Clone(d)}, from
		case found != nil && r == hello.LaterFragment && from == client && offset(d) == end(found[len(found)-1]):
			found = append(found, slices.Clone(d))
		}
		if found != nil && end(found[len(found)-1]) >= length(found[0]) {
			return found, nil
		}
	}
}

// datagram returns the payload of a UDP packet, its sender and its receiver.
func datagram(data []byte, link layers.LinkType) (from [2]gopacket.Flow, d []byte) {
	p := gopacket.NewPacket(data, link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	network, udp := p.NetworkLayer(), p.Layer(layers.LayerTypeUDP)
	if network == nil || udp == nil {
		return from, nil
	}
	u := udp.(*layers.UDP)
	return [2]gopacket.Flow{network.NetworkFlow(), u.TransportFlow()}, u.Payload
}

// Positions in a datagram that begins with a handshake message (RFC 6347 section 4.2.2).
const (
	lengthAt   = 14
	offsetAt   = 19
	fragmentAt = 22
)

func length(d []byte) int { return get24(d[lengthAt:]) }
func offset(d []byte) int { return get24(d[offsetAt:]) }

// end is the offset after the first fragment in a datagram.
func end(d []byte) int { return offset(d) + get24(d[fragmentAt:]) }

func get24(b []byte) int { return int(b[0])<<16 | int(binary.BigEndian.Uint16(b[1:])) }
