package bpf

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrInUse says that another process, alive, holds the pin directory.
var ErrInUse = errors.New("another dtlsguard that is alive has its programs there")

// hold takes the pin directory of an interface, if there is one, for this process until Close. It is a lock on the
// directory itself: a process that ends, however, lets go of it.
func (g *Programs) hold(iface string) error {
	if g.pin == "" {
		return nil
	}
	pin := PinDir(g.pin, iface)
	dir, err := os.Open(pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if errors.Is(err, os.ErrPermission) {
		return &hinted{fmt.Errorf("pins of another user are not taken over: %v", err), //nolint:errorlint // no capability would help
			unloadHint(pin)}
	}
	if err != nil {
		return err
	}
	if err := checkOwner(dir, g.owner); err != nil {
		dir.Close()
		return err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w, on an interface of this name in this or in another network namespace: stop it, or give each its own --pin", ErrInUse)
		}
		return fmt.Errorf("take %s: %w", pin, err)
	}
	g.release(iface)
	g.held[iface] = dir
	return nil
}

// release lets go of the pin directory of an interface.
func (g *Programs) release(iface string) {
	if f := g.held[iface]; f != nil {
		f.Close()
		delete(g.held, iface)
	}
}
