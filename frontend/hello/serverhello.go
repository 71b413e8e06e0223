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
// one that is cut short, or says 1.3 in front, is 0.
func ServerVersion(d []byte) (version uint16, ok bool) {
	be := binary.BigEndian
	record := serverHello(d)
	if record == nil {
		return 0, false
	}
	if len(record) < bodyAt+2 {
		return 0, true
	}
	for b := extensionsOf(record); len(b) >= 4; {
		kind, contents := be.Uint16(b), b[4:min(len(b), 4+int(be.Uint16(b[2:])))]
		if kind == extSupportedVersions && len(contents) == 2 {
			return be.Uint16(contents), true
		}
		b = b[4+len(contents):]
	}
	if version = be.Uint16(record[bodyAt:]); version == DTLS13 {
		version = 0
	}
	return version, true
}

// serverHello returns the record that d begins with, nil if it does not begin a ServerHello. It may be cut short.
func serverHello(d []byte) (record []byte) {
	if len(d) < recordHeader || d[0] != typeHandshake || binary.BigEndian.Uint16(d[3:]) != 0 {
		return nil
	}
	d = d[:min(len(d), recordHeader+int(binary.BigEndian.Uint16(d[11:])))]
	if len(d) == recordHeader || d[recordHeader] != msgServerHello {
		return nil
	}
	return d
}

// chosen is the cipher suite, the compression method and the length of all extensions.
const chosen = 2 + 1 + 2

// extensionsOf returns the extensions of a record that serverHello returned, nil if it is cut short.
func extensionsOf(record []byte) []byte {
	if len(record) <= sessionIDAt {
		return nil
	}
	at := sessionIDAt + 1 + int(record[sessionIDAt]) + chosen
	return record[min(at, len(record)):]
}
