package peers

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Swap attaches to device a program that sends back what comes in, cut to the length of an answer, and does
// nothing else. It returns what takes it off.
func Swap(device string) (detach func() error, err error) {
	return attach(device, func(o *reflectObjects) *ebpf.Program { return o.Swap })
}

// Drop attaches to device a program that drops what comes in. It returns what takes it off.
func Drop(device string) (detach func() error, err error) {
	return attach(device, func(o *reflectObjects) *ebpf.Program { return o.Drop })
}

// Look attaches to device a program that drops what is not DTLS by its first byte, and lets all else pass. It returns
// what takes it off.
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
