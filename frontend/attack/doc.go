// Package attack notices floods: a [Detector] looks at how many datagrams of a service nothing has verified, second by second,
// and a [Sketch] finds the prefixes that most of them claim to come from, in memory of fixed size.
//
// A Sketch belongs to one worker, which adds to it; others may read it meanwhile. A Detector belongs to one goroutine.
package attack
