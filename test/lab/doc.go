// Package lab has the tests that run the program with XDP as an operator does: the built command in a network
// of its own, real clients in front of it, real servers behind it or beside it.
//
// The tests need root, and a kernel that has what the guard needs; where that is missing they say so and are
// skipped, with DTLSGUARD_REQUIRE_BPF=1 they fail. They run in mount, PID and network namespaces that end with
// the test process, however it ends, and so leave no process, no network and no pin behind.
package lab
