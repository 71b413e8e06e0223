// Package cookie issues and verifies the stateless cookies of a DTLS HelloVerifyRequest (RFC 6347 section 4.2.1).
//
// A cookie is format v1, 32 bytes: byte 0 is the secret's key ID, bytes 1..31 are the first 31
// bytes of HMAC-SHA256(secret, m). The message m is 55 bytes, big-endian:
//
//	0x01 | source address (16, IPv4 as v4-mapped) | source port (2) | destination port (2) | client_version (2) | random (32)
//
// 55 is the longest message that SHA-256 pads into one block (55 + 1 + 8 = 64), so with the states after the
// two HMAC key pads kept per secret, a cookie costs two compressions. The random binds a cookie to one
// handshake; cipher suites and extensions may stand in a later fragment of the ClientHello, so they stay out.
//
// A [Keyring] is immutable and shared by any number of goroutines; a [Store] swaps it atomically. A [Batch]
// belongs to one goroutine: tell [Batch.Reset] how many messages come, fill its lanes with [Batch.Add] while
// parsing, compute all of them once with [Batch.Sum], read each with [Batch.Cookie] or [Batch.Equal]. A [Verifier]
// does that for ClientHellos with and without cookies, under both secrets of a keyring.
//
// A [Plan] says which of several implementations compute a batch: portable Go, or vector and SHA instructions,
// for up to 16 messages at a time. [Measured] finds the fastest, [Select] fixes one. The build tag purego
// leaves assembly out.
//
// Nothing here does I/O, allocates after construction, or reads a clock but to measure a plan, once. The
// package imports nothing of this project.
package cookie
