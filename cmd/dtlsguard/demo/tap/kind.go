package tap

// Kind is what a datagram is, by its first record (RFC 6347 section 4.1).
type Kind uint8

// The kinds of datagrams.
const (
	// FirstHello is a ClientHello without a cookie, the kind that a guard must keep from the server.
	FirstHello Kind = iota
	// CookieHello is a ClientHello with one.
	CookieHello
	// Handshake is any other handshake message, encrypted ones included.
	Handshake
	// ChangeCipherSpec is the switch to the negotiated keys, if no handshake message stands before it.
	ChangeCipherSpec
	// Alert is an alert, close_notify among them.
	Alert
	// ApplicationData is what the handshake was made for.
	ApplicationData
	// Other is everything else, what is not DTLS included.
	Other

	// KindLen is the number of kinds.
	KindLen
)

var kindNames = [KindLen]string{
	"first_hello", "cookie_hello", "handshake", "change_cipher_spec", "alert", "application_data", "other",
}

// String is the name in machine-readable output.
func (k Kind) String() string { return kindNames[k] }

// Where things stand in a datagram that begins with a ClientHello.
const (
	recordHeader = 13
	epochAt      = 3
	sessionIDAt  = recordHeader + 12 + 2 + 32 // after handshake header, client_version and random
)

// classify is deliberately not the guard's own parser: an error there must not hide here.
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

// helloKind looks for the cookie. A later fragment or a ClientHello too short to have one is handed to the
// server as something it did not ask a cookie for: a first one.
func helloKind(d []byte) Kind {
	if len(d) > sessionIDAt {
		if at := sessionIDAt + 1 + int(d[sessionIDAt]); len(d) > at && d[at] > 0 {
			return CookieHello
		}
	}
	return FirstHello
}
