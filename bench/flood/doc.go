// Package flood is a ClientHello flood for a guard on this host, made without privileges: plain UDP sockets,
// whose datagrams get a source address each out of 127.0.0.0/8 by an IP_PKTINFO control message. The answers
// come back to the same sockets, so they are not only counted but checked.
//
// A [Flood] is opened by [New], runs once, in [Flood.Run], on the calling goroutine (it takes a CPU if
// Config.Rate does not hold it back), and is closed by [Flood.Close] after that. Counts may be called at any
// time from anywhere.
//
// What an answer must say is known without a table of questions: the record sequence number of a question is a
// keyed hash of its source address, and a HelloVerifyRequest must copy it (RFC 6347 section 4.2.1).
package flood
