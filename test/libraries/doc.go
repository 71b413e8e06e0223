// Package libraries checks the modes with shared secrets against real libraries: it compiles servers of Qt, wolfSSL and
// GnuTLS (bench/testkit/peers), compares their cookies with those that the guard computes, and probes them.
package libraries
