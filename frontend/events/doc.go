// Package events has the events that operators are told of: attacks, limits reached, back ends, secrets, programs and reloads.
//
// A [Channel] keeps the last [Size] events. [Channel.Emit] never waits for a reader, and one that is too slow is told how
// many it has missed. No event is emitted on a datagram's path: what happens there is counted, and the counters are read.
package events
