// Package attacks has tests that attack a guard as somebody who has read its source would: each reports what was sent and
// what was lost. They need loopback and no privileges. By default they take seconds; with -whole (make test-attacks) they
// last as long as an attacker would.
//
// On loopback a client can complete cookie exchanges from every address of 127.0.0.0/8. What an attacker forges in a client's name
// is sent from the client's own socket: on the wire there is no difference.
package attacks
