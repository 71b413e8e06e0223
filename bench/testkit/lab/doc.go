// Package lab makes the network of tests and benchmarks, three network namespaces in a row:
//
//	client  198.18.0.2/24    ── veth ──  guard  198.18.0.1/24
//	        2001:2:0:1::2/64             2001:2:0:1::1/64
//	                                     198.18.1.1/24    ── veth ──  server  198.18.1.2/24
//	                                     2001:2:0:2::1/64             2001:2:0:2::2/64
//
// with routes both ways (RFC 2544 and RFC 5180 assign these prefixes to benchmarks). The client's veth has an XDP program
// that passes everything: without one a veth drops what its peer sends with XDP_TX.
//
// Names contain the process's number, so labs of several processes can coexist; [New] removes those of dead processes,
// and nothing else. It needs CAP_SYS_ADMIN and CAP_NET_ADMIN. Several goroutines may use a Lab.
package lab
