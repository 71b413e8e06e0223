package bpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ProbeAttach finds out in which mode an interface takes XDP, by attaching a program that passes everything and
// taking it off again; some drivers reset their queues for that. Where a program is attached already it
// attaches nothing.
func ProbeAttach(iface string) []Finding {
	const what = "XDP mode"
	dev, err := net.InterfaceByName(iface)
	if err != nil {
		return nil // ProbeInterface says so
	}
	f := []Finding{{Name: what}}
	if a, err := Attached(dev.Index); err == nil && a.XDP != 0 {
		f[0].Text = "generic, of the program that is attached"
		if a.Native {
			f[0].Text = "native, of the program that is attached"
		}
	} else {
		f[0] = tryModes(dev)
	}
	f = append(f, probePeer(dev)...)
	return f
}

// tryModes attaches a program in one mode after the other.
func tryModes(dev *net.Interface) Finding {
	var errs []error
	for _, m := range []AttachMode{AttachNative, AttachGeneric} {
		for _, frags := range []uint32{unix.BPF_F_XDP_HAS_FRAGS, 0} {
			err := tryAttach(dev, m, frags)
			switch {
			case err == nil && m == AttachNative:
				return Finding{Name: "XDP mode", Text: "native"}
			case err == nil:
				return Finding{"XDP mode", Warn, fmt.Sprintf("generic only, several times slower (%s)", firstLine(errors.Join(errs...))),
					"use an interface with a driver that has XDP, or run setting answer workers"}
			}
			errs = append(errs, attachHint(dev, err))
		}
	}
	return Finding{"XDP mode", Fail, firstLine(errors.Join(errs...)), "run as root, or leave setting interface out"}
}

func tryAttach(dev *net.Interface, m AttachMode, flags uint32) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "probe", Type: ebpf.XDP, License: "Dual BSD/GPL", Flags: flags,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()}})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: dev.Index,
		Flags: map[AttachMode]link.XDPAttachFlags{AttachNative: link.XDPDriverMode, AttachGeneric: link.XDPGenericMode}[m]})
	if err != nil {
		return err
	}
	return errors.Join(l.Detach(), l.Close())
}

// ethtoolDriver is an interface's driver as ethtool -i has it, "" if it does not say.
func ethtoolDriver(iface string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, iface)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}
