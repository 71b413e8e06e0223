// Package events is what an operator is told of: attacks, limits that are reached, back ends, secrets, programs and reloads.
//
// A [Channel] keeps the last [Size] events. [Channel.Emit] never waits for a reader, and one that is too slow is told how
// many it has missed. No event is made on a datagram's path: what happens there is counted, and the counters are looked at.
package events
