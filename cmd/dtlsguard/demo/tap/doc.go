// Package tap counts what reaches a server: a transparent relay that stands between a guard and the server
// and shares no code with the guard, so that the guard's own counts can be checked.
//
// A [Tap] has a port for each port that sends to it. The server sees the tap's port as the client's, so what it
// binds to a client's address, above all cookies, stays bound to one sender. The tap counts what is sent towards
// the server, even if the server's socket is closed, so the counts are never less than what the server received. ICMP errors
// of the server are not passed on: the sender sees silence.
//
// Ports are kept until [Tap.Close]: a tap is made for runs of minutes with some thousand ports. All methods
// are safe for concurrent use.
package tap
