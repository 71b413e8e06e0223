package privileges

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where struct seccomp_data (linux/seccomp.h) has the number of the call, the architecture, and the low half of the first
// argument, on a machine of either byte order.
const offsetNumber, offsetArch = 0, 4

func offsetArgument() uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big-endian
		return 20
	}
	return 16
}

// refuse is what a call that is not listed gets: an error, as the call would give where it is not allowed. Ending the
// process would make one forgotten call an outage of all services.
const refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)

// filter is the program that allows calls, and of bpf(2) the commands. A comparison jumps at most 255 instructions, so
// each call has its own return.
func filter(calls, commands []call) ([]bpf.RawInstruction, error) {
	ret := func(v uint32) bpf.Instruction { return bpf.RetConstant{Val: v} }
	unless := func(v uint32, skip int) bpf.Instruction {
		return bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v, SkipTrue: uint8(skip)}
	}
	p := []bpf.Instruction{
		// Another architecture's numbers mean other calls.
		bpf.LoadAbsolute{Off: offsetArch, Size: 4}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1}, ret(refuse),
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
	}
	for _, c := range calls {
		p = append(p, unless(c.number, 1), ret(unix.SECCOMP_RET_ALLOW))
	}
	p = append(p, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_BPF, SkipTrue: 1}, ret(refuse), bpf.LoadAbsolute{Off: offsetArgument(), Size: 4})
	for _, c := range commands {
		p = append(p, unless(c.number, 1), ret(unix.SECCOMP_RET_ALLOW))
	}
	return bpf.Assemble(append(p, ret(refuse)))
}

// restrictCalls leaves the calls that a guard makes while it serves. With Exec all are, for a program makes what it needs.
func (c *Config) restrictCalls() error {
	if c.Exec {
		return nil
	}
	if arch == 0 {
		c.Log.Warn("system calls are not restricted: no list of them for this architecture", "architecture", runtime.GOARCH)
		return nil
	}
	raw, err := filter(slices.Concat(serving, legacy), commands)
	if err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(raw)), Filter: (*unix.SockFilter)(unsafe.Pointer(&raw[0]))} // the same four fields
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(raw)
	if errno != 0 {
		return errno
	}
	if thread != 0 {
		return fmt.Errorf("thread %d has a filter of its own", thread)
	}
	return nil
}
