// Package handoff decides how a verified client reaches an unmodified server. The server will see, as the
// first datagram of an unknown peer, a ClientHello that carries a cookie; what it makes of that differs.
//
//   - trust: the server takes any cookie (its verify callback returns 1), so the guard issues its own.
//   - harvest: the server's cookie depends on nothing but the peer's address, which is the guard's own socket.
//     The guard asks for the cookie of each socket of a pool beforehand, picks a client's socket by
//     a keyed hash of the handshake, and hands the client that socket's cookie; it then verifies at the server too.
//   - native-hmac, native-qt, native-wolfssl, native-gnutls: the guard computes the cookie that the server itself would
//     give, from a secret that both have: over the client's address inline, in a proxy over the one of the guard's
//     port, to which a client is mapped as for harvest.
//   - replay: the server wants a first ClientHello without a cookie from each peer, then takes any cookie. The guard
//     sends one of its own in front of the client's, and swallows the answer.
//   - double-hvr: the guard issues its own cookie, then the server asks the verified client for its own.
//
// A [Backend] is one server: probed when opened, watched by Run for as long as it serves. Each worker has a
// [Verifier] of its own, made by Backend.NewVerifier, with scratch memory that is not for concurrent use. Another way to
// hand clients over is another Mode.
package handoff
