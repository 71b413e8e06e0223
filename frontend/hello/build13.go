package hello

import (
	"crypto/sha256"
	"encoding/binary"
)

// Probe13 describes a ClientHello of DTLS 1.3 that the guard itself sends to a back end, to learn how it answers others:
// it offers groups but no valid key share, so that the answer is a HelloRetryRequest or an alert.
type Probe13 struct {
	Random  [32]byte
	Session []byte // legacy_session_id, at most 32 bytes
	Suites  []uint16
	Groups  []uint16
	Share   uint16 // group of an invalid key share; 0: none is offered
	// Identity of a pre-shared key, which is offered with a wrong binder; nil: none.
	Identity []byte
}

// Append writes the probe as one datagram to d.
func (p *Probe13) Append(d []byte) []byte {
	be := binary.BigEndian
	list := func(values []uint16) (b []byte) {
		for _, v := range values {
			b = be.AppendUint16(b, v)
		}
		return b
	}
	extension := func(b []byte, kind uint16, contents ...byte) []byte {
		return append(be.AppendUint16(be.AppendUint16(b, kind), uint16(len(contents))), contents...)
	}
	sized := func(b []byte) []byte { return append(be.AppendUint16(nil, uint16(len(b))), b...) }
	x := extension(nil, extSupportedVersions, 2, 0xfe, 0xfc)
	x = extension(x, extSupportedGroups, sized(list(p.Groups))...)
	x = extension(x, 13, probeSignatures...)
	var shares []byte
	if p.Share != 0 {
		shares = append(be.AppendUint16(nil, p.Share), 0, 1, 1) // a byte is the least
	}
	x = extension(x, extKeyShare, sized(shares)...)
	if len(p.Identity) > 0 {
		x = extension(x, extPSKModes, 2, 0, 1)                                          // with and without a key exchange
		identity := append(sized(p.Identity), 0, 0, 0, 0)                               // no ticket: it has no age
		binder := append([]byte{sha256.Size}, make([]byte, sha256.Size)...)             // of any hash
		x = extension(x, extPreSharedKey, append(sized(identity), sized(binder)...)...) // the last one, always
	}
	b := be.AppendUint16(nil, versionDTLS12)
	b = append(b, p.Random[:]...)
	b = append(append(b, byte(len(p.Session))), p.Session...)
	b = append(append(b, 0), sized(list(p.Suites))...)
	b = append(append(b, 1, 0), sized(x)...)
	n := len(b)
	d = append(d, typeHandshake, versionDTLS12>>8, versionDTLS12&0xff, 0, 0, 0, 0, 0, 0, 0, 0)
	d = be.AppendUint16(d, uint16(handshakeHeader+n))
	d = append(d, msgClientHello, 0, byte(n>>8), byte(n), 0, 0, 0, 0, 0, 0, byte(n>>8), byte(n))
	return append(d, b...)
}

// probeSignatures include one that any server has a certificate for.
var probeSignatures = []byte{0, 18, 4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 8, 7, 4, 1, 5, 1}

// ReadRetry reads d, if it begins with a HelloRetryRequest of DTLS 1.3. Its cookie is a part of d; Echo is set if it has a
// session id. What ServerVersion finds 1.3 has extensions, and so all that stands in front of them.
func ReadRetry(d []byte) (r Retry, ok bool) {
	be := binary.BigEndian
	if v, _ := ServerVersion(d); v != DTLS13 {
		return r, false
	}
	record := serverHello(d)
	b := extensionsOf(record)
	if [32]byte(record[randomAt:]) != retryRandom {
		return r, false
	}
	r.Echo = record[sessionIDAt] > 0
	r.Suite = be.Uint16(record[len(record)-len(b)-chosen:])
	for len(b) >= 4 {
		kind, n := be.Uint16(b), int(be.Uint16(b[2:]))
		if n > len(b)-4 {
			return r, false
		}
		switch contents := b[4 : 4+n]; {
		case kind == extKeyShare && n == 2:
			r.Group = be.Uint16(contents)
		case kind == extCookie:
			r.Cookie = vector(contents, 2)
		}
		b = b[4+n:]
	}
	return r, true
}
