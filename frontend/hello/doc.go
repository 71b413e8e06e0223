// Package hello parses ClientHellos and writes HelloVerifyRequests. It has no I/O, no allocation and no state, and is
// safe for concurrent use. The rules are those of RFC 6347 sections 4.1 to 4.2; where a
// rule is stricter or looser than the text, the comment says which client or server is the reason.
//
// [Parse] looks only at the first record of a datagram, because a ClientHello is answered from its first
// fragment. It classifies what cannot be answered by [Reason], so that every refusal can be counted.
package hello
