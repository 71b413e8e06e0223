package hello

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Probe describes a ClientHello that the guard itself sends to a back end, to learn about its cookies.
type Probe struct {
	Version    uint16 // client_version; 0: DTLS 1.2
	Random     [32]byte
	Cookie     []byte // empty for a first ClientHello; at most 255 bytes
	MessageSeq uint16
	RecordSeq  uint32
	Offer13    bool // offer DTLS 1.3 as well
}

// probeSuites, two bytes each, and probeExtensions have something that any DTLS 1.2 server accepts, so that
// it answers with a HelloVerifyRequest and not with an alert.
var probeSuites = []byte{
	0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, // ECDHE-{ECDSA,RSA} with AES-{128,256}-GCM
	0xcc, 0xa9, 0xcc, 0xa8, // ECDHE-{ECDSA,RSA} with ChaCha20-Poly1305
	0xc0, 0xae, // ECDHE-ECDSA-AES128-CCM-8: CoAP (RFC 7252)
	0xc0, 0xa8, 0x00, 0xa8, // PSK with AES128-CCM-8 (CoAP) and with AES128-GCM
	0x00, 0x9c, // RSA-AES128-GCM
	// For servers configured without AEAD or without elliptic curves.
	0xc0, 0x23, 0xc0, 0x24, 0xc0, 0x27, 0xc0, 0x28, // ECDHE-{ECDSA,RSA} with AES-{128,256}-CBC and SHA-2
	0xc0, 0x09, 0xc0, 0x0a, 0xc0, 0x13, 0xc0, 0x14, // ECDHE-{ECDSA,RSA} with AES-{128,256}-CBC and SHA-1
	0x00, 0x9e, 0x00, 0x9f, 0x00, 0x33, 0x00, 0x39, // DHE-RSA with AES-{128,256}-GCM, and with CBC and SHA-1
	0x00, 0x2f, 0x00, 0x35, 0x00, 0x8c, 0x00, 0xae, // RSA and PSK with AES-CBC
	0x00, 0xff, // renegotiation_info (RFC 5746)
}

var probeExtensions = []byte{
	0, 10, 0, 12, 0, 10, 0, 0x17, 0, 0x18, 0, 0x19, 0, 0x1d, 0, 0x1e, // supported_groups: P-256, P-384, P-521, x25519, x448
	0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
	0, 13, 0, 20, 0, 18, 4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 7, 4, 1, 5, 1, 2, 1, // signature_algorithms: ECDSA, RSA-PSS, Ed25519, RSA
	0, 23, 0, 0, // extended_master_secret: some policies insist on it
	0, 22, 0, 0, // encrypt_then_mac, for the same reason
}

// Suites that DTLS 1.0 has.
var probeSuites10 = []byte{
	0xc0, 0x09, 0xc0, 0x0a, 0xc0, 0x13, 0xc0, 0x14, // ECDHE-{ECDSA,RSA} with AES-{128,256}-CBC and SHA-1
	0x00, 0x2f, 0x00, 0x35, 0x00, 0x8c, // RSA and PSK with the same
}

// Additions of a probe that offers DTLS 1.3 (RFC 9147 section 5.3, RFC 8446 sections 4.2.1 and 4.2.8).
var (
	probeSuites13     = []byte{0x13, 0x01, 0x13, 0x02, 0x13, 0x03} // AES-{128,256}-GCM, ChaCha20-Poly1305
	probeExtensions13 = []byte{
		0, 43, 0, 5, 4, 0xfe, 0xfc, 0xfe, 0xfd, // supported_versions: DTLS 1.3, 1.2
		0, 51, 0, 38, 0, 36, 0, 0x1d, 0, 32, // key_share: x25519, the base point, which is as good a key as any
		9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}
)

// Append writes the probe as one datagram to d.
func (p *Probe) Append(d []byte) []byte {
	body := p.body()
	be := binary.BigEndian
	d = append(d, typeHandshake, versionDTLS10>>8, versionDTLS10&0xff, 0, 0, 0, 0)
	d = be.AppendUint32(d, p.RecordSeq)
	d = be.AppendUint16(d, uint16(handshakeHeader+len(body)))
	d = append(d, msgClientHello, 0, byte(len(body)>>8), byte(len(body)))
	d = be.AppendUint16(d, p.MessageSeq)
	d = append(d, 0, 0, 0, 0, byte(len(body)>>8), byte(len(body)))
	return append(d, body...)
}

func (p *Probe) body() []byte {
	suites, extensions := probeSuites, probeExtensions
	switch {
	case p.Offer13:
		suites, extensions = slices.Concat(probeSuites13, suites), slices.Concat(extensions, probeExtensions13)
	case p.Version == versionDTLS10:
		suites = slices.Concat(probeSuites10, suites)
	}
	be := binary.BigEndian
	b := be.AppendUint16(nil, cmp.Or(p.Version, versionDTLS12))
	b = append(b, p.Random[:]...)
	b = append(b, 0, byte(len(p.Cookie)))
	b = append(b, p.Cookie...)
	b = append(be.AppendUint16(b, uint16(len(suites))), suites...)
	b = append(b, 1, 0) // compression: null
	return append(be.AppendUint16(b, uint16(len(extensions))), extensions...)
}

// Fragments cuts d, a datagram that Append wrote, into two whose message is cut after byte at of its body.
func Fragments(d []byte, at int) [2][]byte {
	be := binary.BigEndian
	part := func(from, to int) []byte {
		f := append(slices.Clone(d[:bodyAt]), d[bodyAt+from:bodyAt+to]...)
		n := uint16(to - from)
		be.PutUint16(f[11:], handshakeHeader+n)
		be.PutUint16(f[20:], uint16(from))
		be.PutUint16(f[23:], n)
		return f
	}
	first, second := part(0, at), part(at, len(d)-bodyAt)
	seq := SequenceOf(second)
	seq.Record++
	seq.Put(second)
	return [2][]byte{first, second}
}
