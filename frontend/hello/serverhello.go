package hello

import "encoding/binary"

// Versions of the protocol, as encoded in messages.
const (
	DTLS10 uint16 = versionDTLS10
	DTLS12 uint16 = versionDTLS12
	DTLS13 uint16 = 0xfefc
)

const msgServerHello = 2

// ServerVersion returns the version that d chooses, and whether d begins with a ServerHello, of which a
// HelloRetryRequest is one (RFC 8446 section 4.1.4). Only the extension says 1.3: in front stands 1.2. The version of
// one that is cut short is 0.
func ServerVersion(d []byte) (version uint16, ok bool) {
	be := binary.BigEndian
	if len(d) <= recordHeader || d[0] != typeHandshake || be.Uint16(d[3:]) != 0 || d[recordHeader] != msgServerHello {
		return 0, false
	}
	if len(d) < bodyAt+2 {
		return 0, true
	}
	version = be.Uint16(d[bodyAt:])
	d = d[:min(len(d), recordHeader+int(be.Uint16(d[11:])))] // the record
	if len(d) <= sessionIDAt {
		return version, true
	}
	at := sessionIDAt + 1 + int(d[sessionIDAt]) + 2 + 1 + 2 // session_id, suite, compression, length of extensions
	for at+4 <= len(d) {
		length := int(be.Uint16(d[at+2:]))
		if be.Uint16(d[at:]) == extSupportedVersions && length == 2 && at+6 <= len(d) {
			return be.Uint16(d[at+4:]), true
		}
		at += 4 + length
	}
	return version, true
}
