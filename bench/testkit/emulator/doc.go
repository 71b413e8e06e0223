// Package emulator boots Debian's kernels in QEMU, so that tests that depend on the kernel, the driver or the number of
// CPUs run on any machine, without KVM and without a disk. A [Machine] runs one command in a file system made of its
// [Files], and returns the command's output and exit status.
//
// Kernels are downloaded once, by apt with a list of sources of its own, and kept in [Cache]. Machines may run
// concurrently, also in several processes; they boot one at a time.
package emulator
