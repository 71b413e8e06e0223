// Package capture writes sampled datagrams as pcapng, with what became of each as a comment, and says how much of a datagram
// may be shown. It does no sampling and opens no files.
package capture
