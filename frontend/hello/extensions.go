package hello

import "encoding/binary"

// Extensions that describe what a client of DTLS 1.3 supports (RFC 8446 section 4.2).
const (
	extSupportedGroups   = 10
	extPreSharedKey      = 41
	extSupportedVersions = 43
	extCookie            = 44
	extPSKModes          = 45
	extKeyShare          = 51
)

// Extensions is what a ClientHello offers besides its cookie. Its slices point into the datagram and are valid as long as
// that is.
type Extensions struct {
	Session []byte // legacy_session_id
	Suites  []byte // two bytes each
	Methods []byte // compression methods

	Versions []byte // of supported_versions, two bytes each; nil: not in this datagram
	Groups   []byte // of supported_groups, two bytes each
	Shares   []byte // of key_share: group 2, length 2, key; empty: none is offered yet
	Cookie   []byte // of the extension cookie; nil: not in this datagram
	PSK      []byte // of pre_shared_key, identities and binders; nil: none

	// Whole means that all extensions were parsed. Of a fragmented message they are not, and what was not
	// found may be in a later fragment.
	Whole bool

	// BadShares means that supported_groups, key_share or pre_shared_key is duplicated or malformed. It matters
	// only to an answer that depends on them.
	BadShares bool
}

// How much of a ClientHello is parsed: more than any client has, and as much as the XDP programs parse.
const (
	maxExtensions = 32
	maxVersions   = 8
	maxSuites     = 8
)

// ReadExtensions reads what h offers into x, as far as it is in this datagram. It reports whether the extensions are well
// formed, and so are those that every server must understand to answer. h is one that Parse found OK.
func (h *ClientHello) ReadExtensions(x *Extensions) bool {
	*x = Extensions{}
	var ok bool
	if x.Session, x.Suites, x.Methods, ok = h.Offer(); !ok {
		return !h.Whole
	}
	// Offer has checked that all methods are here; the extensions follow them.
	const sessionAt = sessionIDAt - bodyAt
	at := sessionAt + 1 + len(x.Session)
	at += 1 + int(h.Body[at])
	b := h.Body[at+2+len(x.Suites)+1+len(x.Methods):]
	if len(b) == 0 && h.Whole { // RFC 5246 section 7.4.1.2: there may be none
		x.Whole = true
		return true
	}
	if len(b) < 2 {
		return !h.Whole
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if h.Whole && n != len(b) || n < len(b) {
		return false
	}
	x.Whole = h.Whole
	return x.read(b)
}

// read reads the extensions in b, the last of which may be cut short if they are not whole.
func (x *Extensions) read(b []byte) bool {
	for n := 0; len(b) > 0; n++ {
		if n == maxExtensions {
			return false
		}
		if len(b) < 4 {
			return !x.Whole
		}
		kind, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b)-4 {
			return !x.Whole
		}
		if !x.take(kind, b[4:4+n:4+n]) {
			return false
		}
		b = b[4+n:]
	}
	return true
}

// take reads one extension. For the kinds read here, a duplicate is an error (RFC 8446 section 4.2).
func (x *Extensions) take(kind uint16, b []byte) bool {
	switch kind {
	case extSupportedVersions:
		if x.Versions != nil {
			return false
		}
		x.Versions = vector(b, 1)
		return len(x.Versions) >= 2 && len(x.Versions)%2 == 0
	case extCookie:
		if x.Cookie != nil {
			return false
		}
		x.Cookie = vector(b, 2)
		return len(x.Cookie) > 0
	case extSupportedGroups:
		x.BadShares = x.BadShares || x.Groups != nil
		x.Groups = vector(b, 2)
		x.BadShares = x.BadShares || len(x.Groups) < 2 || len(x.Groups)%2 != 0
	case extKeyShare:
		x.BadShares = x.BadShares || x.Shares != nil
		x.Shares = vector(b, 2)
		x.BadShares = x.BadShares || x.Shares == nil
	case extPreSharedKey:
		x.BadShares = x.BadShares || x.PSK != nil
		x.PSK = b
	}
	return true
}

// vector is the contents of b, which begins with their length in size bytes and ends with them; else nil.
func vector(b []byte, size int) []byte {
	if len(b) < size {
		return nil
	}
	n := int(b[0])
	if size == 2 {
		n = n<<8 | int(b[1])
	}
	if n != len(b)-size {
		return nil
	}
	return b[size:]
}

// Offers13 reports whether the client offers DTLS 1.3.
func (x *Extensions) Offers13() bool {
	return Lists(x.Versions[:min(len(x.Versions), 2*maxVersions)], DTLS13)
}

// Suite13 is the first cipher suite of TLS 1.3 (13xx) that the client lists, 0 if there is none.
func (x *Extensions) Suite13() uint16 {
	for i := 0; i+2 <= min(len(x.Suites), 2*maxSuites); i += 2 {
		if x.Suites[i] == 0x13 {
			return binary.BigEndian.Uint16(x.Suites[i:])
		}
	}
	return 0
}

// Lists reports whether list, of two bytes each, has v.
func Lists(list []byte, v uint16) bool {
	for i := 0; i+2 <= len(list); i += 2 {
		if binary.BigEndian.Uint16(list[i:]) == v {
			return true
		}
	}
	return false
}

// NextShare returns the group of the first share in shares and the rest of them; ok is false at their end, or where
// they are not well formed.
func NextShare(shares []byte) (group uint16, rest []byte, ok bool) {
	if len(shares) < 4 {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(shares[2:]))
	if n > len(shares)-4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(shares), shares[4+n:], true
}

// Identity returns the first identity of a pre_shared_key extension (RFC 8446 section 4.2.11), nil if psk is none or
// is not well formed.
func Identity(psk []byte) []byte {
	if len(psk) < 4 {
		return nil
	}
	all, n := int(binary.BigEndian.Uint16(psk)), int(binary.BigEndian.Uint16(psk[2:]))
	if 2+n+4 > all || 2+all > len(psk) { // a length before it, obfuscated_ticket_age after it
		return nil
	}
	return psk[4 : 4+n]
}
