// Package handoff decides how a verified client reaches an unmodified server. The first datagram that the server gets
// from the client is a ClientHello with a cookie, which servers treat differently:
//
//   - trust: the server accepts any cookie (its verify callback returns 1), so the guard issues its own.
//   - harvest: the server's cookie depends on nothing but the peer's address, which is the guard's own socket.
//     The guard asks for the cookie of each socket of a pool beforehand, picks a client's socket by
//     a keyed hash of the handshake, and hands the client that socket's cookie; it then verifies at the server too.
//   - native-hmac, native-qt, native-wolfssl, native-gnutls: the guard computes the cookie that the server itself would
//     give, from a secret that both have: over the client's address inline, in a proxy over the one of the guard's
//     port, to which a client is mapped as for harvest.
//   - replay: the server wants a first ClientHello without a cookie from each peer, then accepts any cookie. The guard
//     sends one before the client's, and swallows the answer.
//   - double-hvr: the guard issues its own cookie, then the server asks the verified client for its own.
//
// A [Backend] is one server: probed by Open, watched by Run as long as it serves. Each worker has its own [Verifier],
// made by Backend.NewVerifier, with scratch memory that is not safe for concurrent use. A new way to hand clients over is
// a new Mode.
package handoff
