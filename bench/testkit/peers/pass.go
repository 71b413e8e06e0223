package peers

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// Pass attaches to device programs that do nothing where the guard has its own: one that passes what comes in and one that
// passes what goes out. It returns a function that detaches them.
func Pass(device string) (detach func() error, err error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", device, err)
	}
	var closers []func() error
	detach = func() (err error) {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return err
	}
	load := func(t ebpf.ProgramType, verdict int32) (*ebpf.Program, error) {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "pass", Type: t, License: "Dual BSD/GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()}})
		if err == nil {
			closers = append(closers, p.Close)
		}
		return p, err
	}
	const xdpPass, tcxNext = 2, -1 // include/uapi/linux/bpf.h
	in, err := load(ebpf.XDP, xdpPass)
	if err != nil {
		return nil, fmt.Errorf("load passing XDP program: %w", err)
	}
	out, err := load(ebpf.SchedCLS, tcxNext)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load passing egress program: %w", err), detach())
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: in, Interface: dev.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %s: %w", device, err), detach())
	}
	closers = append(closers, l.Close)
	a, err := tc.Attach(out, tc.Options{Interface: dev.Index, Hook: tc.Egress, Name: "pass", Priority: 4435})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %s: %w", device, err), detach())
	}
	closers = append(closers, a.Close)
	return detach, nil
}
