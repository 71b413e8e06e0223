// Package capture writes sampled datagrams as pcapng, with the outcome of each as a comment, and decides how much of a datagram
// may be shown. It does no sampling and opens no files.
package capture
