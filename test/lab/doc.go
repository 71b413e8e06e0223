// Package lab has the tests that run the program with XDP as an operator does: the built command in a network
// of its own, real clients in front of it, real servers behind it or on the same host.
//
// The tests need root and a kernel that has what the guard needs. Otherwise they are skipped with the reason,
// and fail with DTLSGUARD_REQUIRE_BPF=1. They run in mount, PID and network namespaces that end with
// the test process, however it ends, so no process, network or pin is left.
package lab
