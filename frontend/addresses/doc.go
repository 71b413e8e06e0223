// Package addresses says whose first ClientHello may reach a server that cannot be shown a cookie: a [Set] of addresses
// that have proved themselves, [Lists] of prefixes that somebody allows or denies, and a [Gate] that asks both, and
// lets others in by rate. No I/O but the files of lists; what workers call neither allocates nor locks.
//
// Addresses are 16 bytes, IPv4 as v4-mapped. Time is what the caller's clock says and never goes back.
package addresses
