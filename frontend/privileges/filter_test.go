package privileges

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// run returns what the filter says to a call, by the interpreter of x/net: whose words are big-endian, unlike those that
// seccomp(2) reads.
func run(t *testing.T, arch, number, argument uint32) uint32 {
	t.Helper()
	raw, err := filter(serving, commands)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has instructions that nobody knows")
	}
	for i, in := range p { // seccomp has action values that the interpreter takes for lengths, which end at the packet's
		if r, ok := in.(bpf.RetConstant); ok {
			p[i] = bpf.RetConstant{Val: map[uint32]uint32{refuse: 1, unix.SECCOMP_RET_ALLOW: 2}[r.Val]}
		}
	}
	vm, err := bpf.NewVM(p)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 64) // struct seccomp_data: number, architecture, instruction pointer, six arguments
	binary.BigEndian.PutUint32(data, number)
	binary.BigEndian.PutUint32(data[4:], arch)
	binary.BigEndian.PutUint32(data[offsetArgument():], argument)
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func TestFilter(t *testing.T) {
	const refused, allowed = 1, 2
	for _, c := range serving {
		if got := run(t, arch, c.number, 0); got != allowed {
			t.Errorf("%s is refused", c.name)
		}
	}
	for _, c := range commands {
		if got := run(t, arch, unix.SYS_BPF, c.number); got != allowed {
			t.Errorf("%s is refused", c.name)
		}
	}
	for name, c := range map[string][3]uint32{
		"execve": {arch, unix.SYS_EXECVE}, "ptrace": {arch, unix.SYS_PTRACE}, "setns": {arch, unix.SYS_SETNS},
		"BPF_PROG_LOAD": {arch, unix.SYS_BPF, unix.BPF_PROG_LOAD}, "a command to come": {arch, unix.SYS_BPF, 1000},
		"read of another architecture": {unix.AUDIT_ARCH_I386, unix.SYS_READ}, "read of x32": {arch, 0x40000000 | unix.SYS_READ},
	} {
		if got := run(t, c[0], c[1], c[2]); got != refused {
			t.Errorf("%s is allowed", name)
		}
	}
}
