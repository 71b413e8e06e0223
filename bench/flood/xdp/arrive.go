package xdp

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrLost reports that frames redirected into a veth do not come out of it.
var ErrLost = errors.New("the other end of this veth takes no frames from XDP: it has neither an XDP program nor GRO")

// probes is the number of frames sent: more than a host sends on its own meanwhile, and fewer than the 256 of a veth's
// ring.
const probes = 128

// Arrives sends frames that nobody reads into an interface of this network namespace, and returns ErrLost if it is a veth
// that drops them, which depends on its other end. Other drivers are not checked.
func Arrives(dev *net.Interface) error {
	before, err := netlink.LinkByIndex(dev.Index)
	if err != nil {
		return fmt.Errorf("look at %s: %w", dev.Name, err)
	}
	if before.Type() != "veth" {
		return nil
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "probe", Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R1, int32(dev.Index)), asm.Mov.Imm(asm.R2, 0), asm.FnRedirect.Call(), asm.Return()}})
	if err != nil {
		return fmt.Errorf("probe %s: %w", dev.Name, err)
	}
	defer p.Close()
	frame := make([]byte, 60) // the shortest
	copy(frame[6:], dev.HardwareAddr)
	frame[12], frame[13] = 0x88, 0xb5 // for experiments on a link (IEEE 802, local experimental EtherType 1)
	if _, err := p.Run(&ebpf.RunOptions{Data: frame, Repeat: probes, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}); err != nil {
		return fmt.Errorf("probe %s with live frames (since Linux 5.18): %w", dev.Name, err)
	}
	// A veth counts the frames that its other end accepted from XDP as its own sent packets.
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		after, err := netlink.LinkByIndex(dev.Index)
		if err != nil {
			return fmt.Errorf("look at %s: %w", dev.Name, err)
		}
		if after.Attrs().Statistics.TxPackets-before.Attrs().Statistics.TxPackets >= probes {
			return nil
		}
	}
	return ErrLost
}
