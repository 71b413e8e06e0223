package tap

// Kind is the kind of a datagram, by its first record (RFC 6347 section 4.1).
type Kind uint8

// The kinds of datagrams.
const (
	// FirstHello is a ClientHello without a cookie, the kind that a guard must keep from the server.
	FirstHello Kind = iota
	// CookieHello is a ClientHello with a cookie.
	CookieHello
	// Handshake is any other handshake message, encrypted ones included.
	Handshake
	// ChangeCipherSpec is a change of cipher spec with no handshake message before it.
	ChangeCipherSpec
	// Alert is an alert, close_notify among them.
	Alert
	// ApplicationData is application data.
	ApplicationData
	// Other is everything else, including what is not DTLS.
	Other

	// KindLen is the number of kinds.
	KindLen
)

var kindNames = [KindLen]string{
	"first_hello", "cookie_hello", "handshake", "change_cipher_spec", "alert", "application_data", "other",
}

// String is the name in machine-readable output.
func (k Kind) String() string { return kindNames[k] }

// Offsets in a datagram that begins with a ClientHello.
const (
	recordHeader = 13
	epochAt      = 3
	sessionIDAt  = recordHeader + 12 + 2 + 32 // after handshake header, client_version and random
)

// classify deliberately does not use the guard's parser, so that an error there shows here.
func classify(d []byte) Kind {
	if len(d) <= recordHeader {
		return Other
	}
	switch d[0] {
	case 20:
		return ChangeCipherSpec
	case 21:
		return Alert
	case 23:
		return ApplicationData
	case 22:
		const clientHello = 1
		if d[epochAt] == 0 && d[epochAt+1] == 0 && d[recordHeader] == clientHello {
			return helloKind(d)
		}
		return Handshake
	}
	return Other
}

// helloKind looks for the cookie. A later fragment or a ClientHello that is too short to have one counts as a
// first ClientHello.
func helloKind(d []byte) Kind {
	if len(d) > sessionIDAt {
		if at := sessionIDAt + 1 + int(d[sessionIDAt]); len(d) > at && d[at] > 0 {
			return CookieHello
		}
	}
	return FirstHello
}
