package privileges

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Config says what is left of a process.
type Config struct {
	User  *User    // become this user; nil: stay
	Keep  []int    // capabilities (unix.CAP_*) that are kept, of those there are
	Read  []string // files and directories to be read after the drop, besides what every guard reads
	Write []string // directories in which files are made, written and removed after the drop
	Pins  []string // like Write, and symbolic links are made, too
	Exec  bool     // other programs are run, which need files and calls that only they know: neither is restricted
	Log   *slog.Logger
}

// Seal makes sure that no program that is run from now on has more privileges than this process. It is the part of Drop that
// takes longest, some forty calls on every thread, and that can come before the work that takes privileges.
func Seal() error {
	if err := all(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("forbid new privileges: %w", err)
	}
	if err := emptyBounds(); err != nil {
		return fmt.Errorf("empty the capability bounding set: %w", err)
	}
	return nil
}

// Drop gives up all that c does not name. What fails is an error, and the process must not go on; what the kernel has not
// got (Landlock, before Linux 5.13 or not enabled) is logged.
func Drop(c Config) error {
	if err := Seal(); err != nil {
		return err
	}
	// Before the user changes, who may not find what is named below another's directory.
	if err := c.restrictFiles(); err != nil {
		return fmt.Errorf("restrict files: %w", err)
	}
	if err := c.User.become(); err != nil {
		return err
	}
	if err := keep(c.Keep); err != nil {
		return fmt.Errorf("drop capabilities: %w", err)
	}
	if err := c.restrictCalls(); err != nil {
		return fmt.Errorf("restrict system calls: %w", err)
	}
	return nil
}

// all makes a system call on every thread; the arguments that are not given are zero, as prctl(2) wants them.
func all(trap, a, b uintptr) error {
	if _, _, errno := psx.Syscall6(trap, a, b, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// emptyBounds leaves nothing that a program with file capabilities could give. Without CAP_SETPCAP it is not allowed, nor
// needed: no_new_privs holds.
func emptyBounds() error {
	if has, _, err := capabilities(); err != nil || has&(1<<unix.CAP_SETPCAP) == 0 {
		return err
	}
	for c := 0; ; c++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0) // this thread's, as are all others'
		if errors.Is(err, unix.EINVAL) {                                       // beyond the last that this kernel knows
			return nil
		}
		if err == nil && in != 0 {
			err = all(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(c))
		}
		if err != nil {
			return err
		}
	}
}

// become changes the user and keeps what capabilities there are, for keep to choose from.
func (u *User) become() error {
	if u == nil {
		return nil
	}
	if err := all(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1); err != nil {
		return fmt.Errorf("keep capabilities while the user changes: %w", err)
	}
	err := errors.Join(syscall.Setgroups([]int{u.GID}), syscall.Setresgid(u.GID, u.GID, u.GID))
	if err == nil {
		err = syscall.Setresuid(u.UID, u.UID, u.UID)
	}
	if err != nil {
		return fmt.Errorf("become user %s: %w", u.Name, err)
	}
	return nil
}

// keep gives up all capabilities but those listed.
func keep(list []int) error {
	_, has, err := capabilities()
	if err != nil {
		return err
	}
	var want uint64
	for _, c := range list {
		want |= has & (1 << c)
	}
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := new([2]unix.CapUserData) // of 32 capabilities each
	for i := range data {
		part := uint32(want >> (32 * i))
		data[i] = unix.CapUserData{Effective: part, Permitted: part}
	}
	// They go to the kernel as numbers, which keep nothing where it is: on a stack that moves meanwhile, capset(2) takes
	// what is there now for a header, and writes the version that it wants into it.
	var pins runtime.Pinner
	pins.Pin(header)
	pins.Pin(data)
	defer pins.Unpin()
	return all(unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)))
}

// capabilities are this thread's, one bit each.
func capabilities() (effective, permitted uint64, err error) {
	var data [2]unix.CapUserData
	err = unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	effective = uint64(data[0].Effective) | uint64(data[1].Effective)<<32
	permitted = uint64(data[0].Permitted) | uint64(data[1].Permitted)<<32
	return effective, permitted, err
}
