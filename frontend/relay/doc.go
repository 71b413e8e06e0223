// Package relay keeps the verified clients' associations: a [Table] of flows, each a client and the [Upstream], a
// socket towards the server, that stands for it there.
//
// How far a flow has come is its [State]; the transition function is in state.go. A [Budget], which tables share, bounds flows
// in all, by source and by prefix; where it is used up, [Table.Victim] says which flow has to go.
//
// A Table belongs to one worker and is not for concurrent use, but for Count. An Upstream belongs to whoever acquired it;
// Acquire and Release are safe from anywhere, as are Budget and Upstreams. Time is nanoseconds of a clock that never goes back, brought by the
// caller, once per batch.
package relay
