// Package relay keeps the verified clients' associations: a [Table] of flows, each a client and the [Upstream], a
// socket towards the server, that stands for it there.
//
// A Table belongs to one worker and is not for concurrent use. A Port belongs to whoever acquired it; Acquire
// and Release are safe from anywhere. Time is nanoseconds of a clock that never goes back, brought by the
// caller, once per batch.
package relay
