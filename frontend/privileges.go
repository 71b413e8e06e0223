package frontend

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropPrivileges gives up all capabilities of all threads, for good. Call it when all is open and the
// workers have [Server.Started]: what a guard does after that, detaching its programs included, needs none. Files that it reads again must be readable to its
// user. In a build with cgo the threads are not all Go's, and the error is ENOTSUP.
func DropPrivileges() error {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	none := new([2]unix.CapUserData) // of 32 capabilities each
	// They go to the kernel as numbers, which keep nothing where it is: on a stack that moves meanwhile, capset(2) takes
	// what is there now for a header, and writes the version that it wants into it.
	var pins runtime.Pinner
	pins.Pin(header)
	pins.Pin(none)
	defer pins.Unpin()
	if err := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	if err := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(none)), 0); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	return nil
}

func allThreads(trap, a, b, c uintptr) error {
	// The last three are zero, as prctl(2) wants them.
	if _, _, errno := syscall.AllThreadsSyscall6(trap, a, b, c, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
