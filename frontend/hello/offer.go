package hello

import "encoding/binary"

// Offer returns the contents of the fields around h's cookie: session_id, cipher_suites and compression_methods,
// each without its length (RFC 5246 section 7.4.1.2). Without ok, not all of them are in the datagram: the message is
// fragmented, and the first fragment ends too early. h is one that Parse found OK.
func (h *ClientHello) Offer() (session, suites, methods []byte, ok bool) {
	const sessionAt = sessionIDAt - bodyAt // length byte of session_id
	session = h.Body[sessionAt+1:][:h.Body[sessionAt]]
	rest := h.Body[sessionAt+1+len(session):]
	rest = rest[1+int(rest[0]):] // the cookie
	if len(rest) < 2 {
		return nil, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; len(rest) <= n { // the length of the methods follows
		return nil, nil, nil, false
	}
	suites, rest = rest[:n], rest[n:]
	n = int(rest[0])
	if rest = rest[1:]; len(rest) < n {
		return nil, nil, nil, false
	}
	return session, suites, rest[:n], true
}
