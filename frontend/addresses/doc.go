// Package addresses decides whose first ClientHello may reach a server that verifies no cookies: a [Set] of addresses
// that have proved themselves, [Lists] of prefixes that somebody allows or denies, and a [Gate] that asks both, and
// lets others in by rate. Its only I/O is reading the files of lists; what workers call neither allocates nor locks.
//
// Addresses are 16 bytes, IPv4 as v4-mapped. Times are of the caller's clock, which never goes back.
package addresses
