// Package emulator boots Debian's kernels in QEMU, so that tests of what depends on the kernel, the driver or the number
// of CPUs run on any machine: no KVM is needed, and no disk. A [Machine] runs one command in a file system made of the
// [Files] that it was given, and returns the command's output and exit status.
//
// Kernels are downloaded once, by apt from a list of sources of their own, and kept in [Cache]. Machines may run
// concurrently, also those of several processes; their boots are one after the other.
package emulator
