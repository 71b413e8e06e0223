// Package relay keeps the associations of verified clients: a [Table] of flows, each a client and an [Upstream], the
// socket that represents it at the server.
//
// A flow's [State] says how far it has come; state.go has the transition function. A [Budget], which tables share, bounds
// flows in all, by source and by prefix; when it is used up, [Table.Victim] selects the flow to end.
//
// A Table belongs to one worker and is not safe for concurrent use, except Count. An Upstream belongs to whoever acquired
// it; Acquire and Release are safe for concurrent use, as are Budget and Upstreams. Times are nanoseconds of a monotonic
// clock that the caller reads once per batch.
package relay
