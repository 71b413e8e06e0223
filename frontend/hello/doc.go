// Package hello reads ClientHellos and writes HelloVerifyRequests, byte by byte and nothing else: no I/O, no
// allocation, no state, safe for concurrent use. The rules are those of RFC 6347 sections 4.1 to 4.2; where a
// rule is stricter or looser than the text, the comment says which client or server is the reason.
//
// [Parse] looks only at the first record of a datagram, because a ClientHello is answered from its first
// fragment. What it cannot answer it classes by [Reason], so that every refusal can be counted.
package hello
