// Package kernels tests the guard on other kernels, drivers and numbers of CPUs, in an emulator:
//
//	go test ./test/kernels -run 'Kernel$' -kernel 6.12
//
// boots Debian's newest 6.12 and runs the tests of guest_*_test.go in it. Without -kernel nothing is booted. The results of the
// guest's tests become those of this package; DTLSGUARD_GUEST tells a test that it runs in the guest.
package kernels
