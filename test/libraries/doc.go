// Package libraries holds hand-off by shared secrets to what real libraries do: it compiles servers of Qt, wolfSSL and
// GnuTLS (bench/testkit/peers), compares the cookies that they give with those that the guard computes, and probes them.
package libraries
