package peers

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Swap attaches a program to device that sends everything back, cut to the length of an answer, and returns a function
// that detaches it.
func Swap(device string) (detach func() error, err error) {
	return attach(device, func(o *reflectObjects) *ebpf.Program { return o.Swap })
}

// Drop attaches a program to device that drops everything, and returns a function that detaches it.
func Drop(device string) (detach func() error, err error) {
	return attach(device, func(o *reflectObjects) *ebpf.Program { return o.Drop })
}

// Look attaches a program to device that drops what is not DTLS by its first byte and passes everything else. It returns
// a function that detaches the program.
func Look(device string) (detach func() error, err error) {
	return attach(device, func(o *reflectObjects) *ebpf.Program { return o.Look })
}

func attach(device string, pick func(*reflectObjects) *ebpf.Program) (func() error, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("attach to %s: %w", device, err)
	}
	var o reflectObjects
	if err := loadReflectObjects(&o, nil); err != nil {
		return nil, fmt.Errorf("load bare XDP programs: %w", err)
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: pick(&o), Interface: dev.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach to %s: %w", device, err), o.Close())
	}
	return func() error { return errors.Join(l.Close(), o.Close()) }, nil
}
