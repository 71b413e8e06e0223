// Package attack notices floods: a [Detector] watches the number of a service's unverified datagrams per second,
// and a [Sketch] finds the prefixes that most of them claim to come from, in memory of fixed size.
//
// A Sketch belongs to one worker, which adds to it; others may read it at the same time. A Detector belongs to one goroutine.
package attack
