package hello

import "encoding/binary"

// Probe describes a ClientHello that the guard itself sends to a back end, to learn what cookies it gives.
type Probe struct {
	Random     [32]byte
	Cookie     []byte // empty for a first ClientHello; at most 255 bytes
	MessageSeq uint16
	RecordSeq  uint32
}

// probeTail is the rest of a probe after its cookie: what any DTLS 1.2 server finds something to like in, so
// that it answers with a HelloVerifyRequest and not with an alert.
var probeTail = []byte{
	0, 22, // cipher suites, two bytes each
	0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30, // ECDHE-{ECDSA,RSA} with AES-{128,256}-GCM
	0xcc, 0xa9, 0xcc, 0xa8, // ECDHE-{ECDSA,RSA} with ChaCha20-Poly1305
	0xc0, 0xae, // ECDHE-ECDSA-AES128-CCM-8: CoAP (RFC 7252)
	0xc0, 0xa8, 0x00, 0xa8, // PSK with AES128-CCM-8 (CoAP) and with AES128-GCM
	0x00, 0x9c, // RSA-AES128-GCM
	0x00, 0xff, // renegotiation_info (RFC 5746)
	1, 0, // compression: null
	0, 44, // extensions
	0, 10, 0, 8, 0, 6, 0, 0x17, 0, 0x18, 0, 0x1d, // supported_groups: P-256, P-384, x25519
	0, 11, 0, 2, 1, 0, // ec_point_formats: uncompressed
	0, 13, 0, 14, 0, 12, 4, 3, 5, 3, 8, 4, 4, 1, 5, 1, 6, 1, // signature_algorithms: ECDSA, RSA-PSS, RSA
	0, 23, 0, 0, // extended_master_secret: some policies insist on it
	0, 22, 0, 0, // encrypt_then_mac, for the same reason
}

// Append writes the probe as one datagram of DTLS 1.2 to d.
func (p *Probe) Append(d []byte) []byte {
	body := 2 + 32 + 1 + 1 + len(p.Cookie) + len(probeTail)
	be := binary.BigEndian
	d = append(d, typeHandshake, versionDTLS10>>8, versionDTLS10&0xff, 0, 0, 0, 0)
	d = be.AppendUint32(d, p.RecordSeq)
	d = be.AppendUint16(d, uint16(handshakeHeader+body))
	d = append(d, msgClientHello, 0, byte(body>>8), byte(body))
	d = be.AppendUint16(d, p.MessageSeq)
	d = append(d, 0, 0, 0, 0, byte(body>>8), byte(body))
	d = be.AppendUint16(d, versionDTLS12)
	d = append(d, p.Random[:]...)
	d = append(d, 0, byte(len(p.Cookie)))
	d = append(d, p.Cookie...)
	return append(d, probeTail...)
}
