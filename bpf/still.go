package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ErrOff says that the programs are not on the interface any more.
var ErrOff = errors.New("XDP is off")

// Still is nil while the programs are attached to the interface of that name. Else it says what became of them, ErrOff if
// they must be attached again: somebody has taken them off, or the interface is another one than it was, or gone. Two system calls of the kernel's and one
// netlink request: for a look now and then.
func (g *Programs) Still(iface string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.control == nil {
		return ErrClosed
	}
	if g.chain != nil {
		return nil // the program that calls these is another's, and so is its life
	}
	if g.xdp == nil || g.egress == nil {
		return fmt.Errorf("%w %s: it was not attached", ErrOff, iface)
	}
	xdp, err := g.xdp.Info()
	if err != nil {
		return fmt.Errorf("ask for the link to %s: %w", iface, err)
	}
	at := 0
	if xdp.XDP() != nil {
		at = int(xdp.XDP().Ifindex)
	}
	egress, err := g.egress.Interface()
	if err != nil {
		return fmt.Errorf("ask for the egress program of %s: %w", iface, err)
	}
	dev, err := net.InterfaceByName(iface)
	switch {
	case at == 0 && err != nil:
		return fmt.Errorf("%w %s: the interface is gone", ErrOff, iface)
	case at == 0 || egress == 0:
		return fmt.Errorf("%w %s: somebody has detached it, or the interface was made anew", ErrOff, iface)
	case err != nil:
		return nil // renamed: the programs are still where they were
	case dev.Index != at || dev.Index != egress:
		return fmt.Errorf("%w %s: another interface has the name now", ErrOff, iface)
	case dev.Flags&net.FlagUp == 0:
		return fmt.Errorf("interface %s is down", iface)
	}
	return nil
}

// AttachAgain attaches the programs anew, after Still has said that they are off.
func (g *Programs) AttachAgain(iface string, mode AttachMode) (AttachMode, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.closeLinks(); err != nil {
		return 0, fmt.Errorf("attach to %s again: %w", iface, err)
	}
	got, err := g.attach(iface, mode)
	if err != nil {
		return 0, fmt.Errorf("attach to %s again: %w", iface, err)
	}
	return got, nil
}

// InUse reports whether a process that is alive holds a pin directory.
func InUse(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
