// Package attacks has tests that attack a guard as somebody would who has read its source: each says what was sent and
// what was lost. They need loopback and no privileges. By default they take seconds; with -whole (make test-attacks) they
// last as long as an attacker would.
//
// On loopback every address of 127.0.0.0/8 is a source that can prove itself. What an attacker forges in a client's name
// is sent from the client's own socket: on the wire there is no difference.
package attacks
