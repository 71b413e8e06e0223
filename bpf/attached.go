package bpf

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// xdpAttachedDriver is XDP_ATTACHED_DRV of linux/if_link.h.
const xdpAttachedDriver = 1

// Attachments are the programs on an interface, by their kernel ID; 0 is none.
type Attachments struct {
	XDP    uint32
	Native bool   // XDP in the driver
	Egress uint32 // the first one
}

// Attached returns the programs on an interface of this network namespace.
func Attached(ifindex int) (Attachments, error) {
	a, err := attachedXDP(ifindex)
	if err != nil {
		return a, fmt.Errorf("ask for the XDP program of interface %d: %w", ifindex, err)
	}
	egress, err := tc.Programs(ifindex, tc.Egress)
	if err != nil {
		return a, fmt.Errorf("ask for the egress programs of interface %d: %w", ifindex, hint(err))
	}
	if len(egress) > 0 {
		a.Egress = egress[0]
	}
	return a, nil
}

// attachedXDP reads IFLA_XDP of the interface.
func attachedXDP(ifindex int) (a Attachments, err error) {
	rib, err := syscall.NetlinkRIB(unix.RTM_GETLINK, unix.AF_UNSPEC)
	if err != nil {
		return a, err
	}
	messages, err := syscall.ParseNetlinkMessage(rib)
	if err != nil {
		return a, err
	}
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg || int(native.Uint32(m.Data[4:])) != ifindex {
			continue
		}
		a = linkXDP(m.Data)
	}
	return a, nil
}

// linkXDP reads IFLA_XDP of a link's message.
func linkXDP(message []byte) (a Attachments) {
	eachAttr(message[unix.SizeofIfInfomsg:], func(kind uint16, xdp []byte) {
		if kind != unix.IFLA_XDP {
			return
		}
		eachAttr(xdp, func(kind uint16, v []byte) {
			switch {
			case kind == unix.IFLA_XDP_PROG_ID && len(v) >= 4:
				a.XDP = native.Uint32(v)
			case kind == unix.IFLA_XDP_ATTACHED && len(v) >= 1:
				a.Native = v[0] == xdpAttachedDriver
			}
		})
	})
	return a
}

// eachAttr walks netlink attributes.
func eachAttr(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(native.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(native.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+3)&^3):]
	}
}
