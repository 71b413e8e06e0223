package bpf

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// pinIngress is the name of the pinned link of the ingress program behind XDP.
const pinIngress = "link_ingress"

// AssignedType is the content type of a ClientHello that reaches a worker by Service.Assign: no protocol has it, so whoever
// else gets the datagram discards it.
const AssignedType = 31

// Unassign gives a datagram that a worker of an inline service has received its own content type back.
func Unassign(d []byte) {
	if len(d) > 0 && d[0] == AssignedType {
		d[0] = 22 // handshake (RFC 6347 section 4.1)
	}
}

// CanAssign is nil if the kernel can assign packets to the sockets of workers, which share a port: since Linux 6.6, as tcx links.
func CanAssign() error {
	err := tc.HaveLinks()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("the kernel assigns no packets to sockets that share a port (it does since Linux 6.6): %w", err)
	}
	return err
}

// Unassigned is nil while ClientHellos are assigned to workers' sockets on all interfaces that the programs are on. Else it says
// why they reach workers by the workers' port.
func (g *Programs) Unassigned() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unassigned != nil {
		return g.unassigned
	}
	for _, a := range g.at {
		if a.ingress == nil {
			return fmt.Errorf("%s is a port of a device (%s) that may lose packets' sockets", a.iface, master(a.index))
		}
	}
	return nil
}

// attachIngress attaches the program that assigns ClientHellos to workers, where the kernel can and keeps to it. It comes before
// others, so that they see the service's port.
func (g *Programs) attachIngress(a *attachment) (err error) {
	if g.unassigned != nil || losesSockets(a.index) {
		return nil
	}
	if a.ingress, err = tc.Attach(a.progs.ingress, ingressOptions(a.index)); err != nil {
		return fmt.Errorf("ingress: %w", lacking(err))
	}
	return nil
}

func ingressOptions(ifindex int) tc.Options {
	return tc.Options{Interface: ifindex, Hook: tc.Ingress, First: true}
}

// losesSockets reports whether what comes in by an interface goes through a device above it that may lose packets' sockets, as a
// bridge does with br_netfilter.
func losesSockets(ifindex int) bool {
	m := master(ifindex)
	return m != "" && m != "bond"
}

// master is the kind of device that an interface is a port of, "" if it is none's.
func master(ifindex int) string {
	dev, err := netlink.LinkByIndex(ifindex)
	if err != nil || dev.Attrs().MasterIndex == 0 {
		return ""
	}
	above, err := netlink.LinkByIndex(dev.Attrs().MasterIndex)
	if err != nil {
		return "device"
	}
	return above.Type()
}

// openIngress opens the pinned ingress program, if it is on the interface.
func (a *attachment) openIngress(dir *pinfs.Dir) error {
	l, err := tc.Open(dir, pinIngress, ingressOptions(0))
	if err != nil || l == nil {
		return err
	}
	at, err := l.Interface()
	if err != nil || at != a.index || losesSockets(at) {
		return errors.Join(err, os.Remove(dir.Path(pinIngress)), l.Detach())
	}
	a.ingress = l
	return nil
}

func (a *attachment) pinIngress(dir string) error {
	if a.ingress == nil {
		return nil
	}
	return a.ingress.Pin(dir, pinIngress, a.progs.ingress)
}

// stillIngress is nil while the ingress program is on the interface, or where it never was.
func (a *attachment) stillIngress(ifindex int) error {
	if a.ingress == nil {
		return nil
	}
	at, err := a.ingress.Interface()
	if err != nil {
		return fmt.Errorf("ask for the ingress program of %s: %w", a.iface, err)
	}
	if at != ifindex {
		return fmt.Errorf("%w %s: the ingress program is off", ErrOff, a.iface)
	}
	if losesSockets(at) {
		return fmt.Errorf("%w %s: it has become a port of a device (%s) that may lose packets' sockets", ErrOff, a.iface, master(at))
	}
	return nil
}
