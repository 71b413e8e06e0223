package handoff

import "crypto/sha1"

// gnutlsCookie is how many bytes of the HMAC gnutls_dtls_cookie_send puts into a cookie.
const gnutlsCookie = 16

// newGnuTLS makes the formula of gnutls_dtls_cookie_send and gnutls_dtls_cookie_verify for servers that pass the sender's
// sockaddr, of the length that recvfrom(2) returns, as client_data. GnuTLS's manual and gnutls-serv do that; checked
// against GnuTLS 3.7.9: the first 16 bytes of HMAC-SHA1 over client_data. HMAC does not depend on the broken properties
// of SHA-1 (RFC 6151 says the same of MD5).
func newGnuTLS() formula {
	return &macFormula{hash: sha1.New, length: gnutlsCookie, message: func(m []byte, q *question) ([]byte, bool) {
		return appendSockaddr(m, &q.seen, q.mapped), true
	}}
}
