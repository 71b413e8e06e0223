package capture

import "encoding/binary"

// Content types and positions of DTLS records (RFC 6347 section 4.1, RFC 9147 section 4).
const (
	recordHeader = 13
	firstType    = 20 // change_cipher_spec, alert, handshake
	lastPlain    = 22
	lastType     = 26
	firstUnified = 32
	lastUnified  = 63
)

// Visible is how many bytes of a datagram may be shown without application data: the plaintext records of a handshake, and the
// header of the first record after them. What is not DTLS is another protocol's data: nothing of it is shown if it passes,
// everything if it is dropped like a flood's junk.
func Visible(d []byte, passed bool) int {
	for at := 0; at < len(d); {
		rest := d[at:]
		switch c := rest[0]; {
		case c >= firstUnified && c <= lastUnified:
			return at + 1
		case c < firstType || c > lastType:
			if passed {
				return at
			}
			return len(d)
		case len(rest) < recordHeader:
			return len(d)
		case c > lastPlain || binary.BigEndian.Uint16(rest[3:]) > 0:
			return at + recordHeader
		}
		at += recordHeader + int(binary.BigEndian.Uint16(rest[11:]))
	}
	return len(d)
}
