package hello

// Reason is the class of a datagram. Datagrams of the values below [Malformed] need the flow table: they belong
// to a verified client, or are dropped. Those from Malformed on are always dropped.
// The same numbers are used by the programs of package bpf.
type Reason uint8

// The classes.
const (
	// OK is a well-formed ClientHello, whole or a first fragment.
	OK Reason = iota
	// Encrypted is a record of epoch 1 or later, or a record with a connection ID (content type 25, RFC 9146).
	Encrypted
	// NotHello is a record of epoch 0 without a ClientHello: the rest of a handshake, an alert.
	NotHello
	// LaterFragment is a ClientHello fragment with fragment_offset > 0: it has no cookie to look at.
	LaterFragment
	// NotDTLS begins with a byte outside 20..63, the range that RFC 7983 gives to DTLS.
	NotDTLS
	// Truncated is shorter than its record and handshake headers, or its record is longer than the datagram.
	Truncated
	// BadVersion has a record or client version whose major number is not DTLS's 254. Any minor one is for the server to
	// answer with its own (RFC 5246 appendix E.1).
	BadVersion
	// ZeroFragment has fragment_length 0.
	ZeroFragment
	// BadLength has a handshake message of 2^14 bytes or more, or a fragment beyond its message or record.
	BadLength
	// BadSessionID has a session_id longer than 32 bytes, or one that does not fit.
	BadSessionID
	// BadCookie has a cookie that does not end inside this fragment.
	BadCookie
	// BadBody has cipher suites or compression methods of an impossible length.
	BadBody

	// ReasonLen is the number of reasons.
	ReasonLen
)

// Malformed is the first of the reasons for which datagrams are dropped even if they belong to a flow.
const Malformed = Truncated

var reasonNames = [ReasonLen]string{
	OK: "hello", Encrypted: "encrypted", NotHello: "not-hello", LaterFragment: "later-fragment", NotDTLS: "not-dtls",
	Truncated: "truncated", BadVersion: "bad-version", ZeroFragment: "zero-fragment", BadLength: "bad-length",
	BadSessionID: "bad-session-id", BadCookie: "bad-cookie-length", BadBody: "bad-body",
}

// String is the label used in metrics and logs.
func (r Reason) String() string {
	if r >= ReasonLen {
		return "invalid"
	}
	return reasonNames[r]
}
