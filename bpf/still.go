package bpf

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// ErrOff says that the programs are not on the interface any more.
var ErrOff = errors.New("XDP is off")

// At is where the programs are, as a look at the kernel tells.
type At struct {
	Name string // that the interface has now; "": it is gone
	Up   bool
	MTU  int
}

// Still is nil while the programs are attached to the interface that was given that name. Else it says what became of them,
// ErrOff if they must be attached again: somebody has taken them off, or the interface is another one than it was, or gone.
// Two system calls of the kernel's and one netlink request: for a look now and then.
func (g *Programs) Still(iface string) (At, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return At{}, ErrClosed
	}
	a := g.attachment(iface)
	dev, err := net.InterfaceByName(iface)
	now := At{}
	if err == nil {
		now = At{dev.Name, dev.Flags&net.FlagUp != 0, dev.MTU}
	}
	if a != nil && a.chain != nil {
		return now, a.stillCalled(dev)
	}
	if a == nil || a.xdp == nil || a.egress == nil {
		return now, fmt.Errorf("%w %s: it was not attached", ErrOff, iface)
	}
	at, egress, lost := a.where()
	if lost != nil {
		return now, lost
	}
	switch {
	case at == 0 && err != nil:
		return now, fmt.Errorf("%w %s: the interface is gone", ErrOff, iface)
	case at == 0 || egress == 0:
		return now, fmt.Errorf("%w %s: somebody has detached it, or the interface was made anew", ErrOff, iface)
	case err != nil: // renamed: the programs are still where they were
		if dev, err = net.InterfaceByIndex(at); err != nil {
			return now, fmt.Errorf("look at interface %d, which was %s: %w", at, iface, err)
		}
		return At{dev.Name, dev.Flags&net.FlagUp != 0, dev.MTU}, a.stillIngress(at)
	case dev.Index != at || dev.Index != egress:
		return now, fmt.Errorf("%w %s: another interface has the name now", ErrOff, iface)
	}
	return now, a.stillIngress(dev.Index)
}

// stillCalled is Still for a program in a root program's array. dev is nil if the interface is gone.
func (a *attachment) stillCalled(dev *net.Interface) error {
	if dev == nil || dev.Index != a.index {
		return fmt.Errorf("%w %s: the interface is gone or was made anew", ErrOff, a.iface)
	}
	if root, err := Attached(dev.Index); err != nil || root.XDP == 0 {
		return errors.Join(fmt.Errorf("no XDP program on %s calls the array", a.iface), err)
	}
	if egress, err := a.egress.Interface(); err != nil || egress != dev.Index {
		return errors.Join(fmt.Errorf("%w %s: the egress program is off", ErrOff, a.iface), err)
	}
	if err := a.stillIngress(dev.Index); err != nil {
		return err
	}
	return a.chain.still()
}

// where are the indexes of the interfaces that the two programs are on, 0 for none.
func (a *attachment) where() (xdp, egress int, err error) {
	info, err := a.xdp.Info()
	if err != nil {
		return 0, 0, fmt.Errorf("ask for the link to %s: %w", a.iface, err)
	}
	if info.XDP() != nil {
		xdp = int(info.XDP().Ifindex)
	}
	if egress, err = a.egress.Interface(); err != nil {
		return 0, 0, fmt.Errorf("ask for the egress program of %s: %w", a.iface, err)
	}
	return xdp, egress, nil
}

// AttachAgain attaches the programs anew, after Still has said that they are off.
func (g *Programs) AttachAgain(iface string, mode AttachMode) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.attachment(iface)
	if a == nil {
		return 0, fmt.Errorf("attach to %s again: it was not attached before", iface)
	}
	err := a.closeLinks()
	switch {
	case err != nil:
	case a.path != "":
		if err = g.attachChain(a, a.path); err != nil {
			err = errors.Join(err, a.closeLinks())
		}
	default:
		err = g.attachTo(a, mode)
	}
	if err != nil {
		return 0, fmt.Errorf("attach to %s again: %w", iface, err)
	}
	a.adopted = false
	return a.mode, nil
}

// InUse reports whether a process that is alive holds a pin directory.
func InUse(dir string) bool {
	there, err := pinfs.Open(dir)
	if err != nil {
		return false
	}
	defer there.Close()
	return errors.Is(unix.Flock(int(there.File().Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
