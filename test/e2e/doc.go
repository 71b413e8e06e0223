// Package e2e has the tests that run the guard as operators do: real clients on one side, real servers on the other, and
// traffic in between that must not get through. All of it stays on loopback addresses.
//
// The clients and servers are OpenSSL's and GnuTLS's command line programs, Pion, and those of bench/testkit/peers. A test
// whose program is missing is skipped with that reason; with CI=true in the environment it fails, because there the programs must
// exist.
package e2e
