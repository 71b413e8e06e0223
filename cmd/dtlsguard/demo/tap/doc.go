// Package tap counts what reaches a server: a transparent relay that stands between a guard and the server
// and knows nothing of the guard, so that what the guard says of itself can be checked.
//
// A [Tap] keeps a port of its own for each port that sends to it. To the server, a client is the tap's port,
// so what the server binds to a client's address (cookies above all) stays bound to one sender. It counts what
// is sent towards the server; a datagram that finds the server's socket closed is counted too, so the counts
// are never less than what the server got. A server's refusal is not passed on: the sender sees silence.
//
// Ports are kept until [Tap.Close]: a tap is made for runs of minutes with some thousand ports. All methods
// may be called at any time from anywhere.
package tap
