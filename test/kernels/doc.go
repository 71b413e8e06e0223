// Package kernels tests the guard on kernels, drivers and machines that this one is not, in an emulator:
//
//	go test ./test/kernels -run 'Kernel$' -kernel 6.12
//
// boots Debian's newest 6.12 and runs the tests of guest_*_test.go in it. Without -kernel nothing is booted. What the
// guest's tests say comes back as tests of this package; DTLSGUARD_GUEST tells a test that it is in the guest.
package kernels
