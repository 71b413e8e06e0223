package bpf

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
)

// ErrInUse reports that a running process holds the pin directory.
var ErrInUse = errors.New("another running dtlsguard has its programs there")

// hold locks the pin directory of an interface, if there is one, until Close. The kernel releases the lock when the process
// ends.
func (g *Programs) hold(iface string) error {
	if g.pin == "" {
		return nil
	}
	pin := PinDir(g.pin, iface)
	there, err := pinfs.Open(pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if errors.Is(err, os.ErrPermission) {
		return &hinted{fmt.Errorf("the pins belong to another user: %v", err), //nolint:errorlint // no capability would help
			unloadHint(pin)}
	}
	if err != nil {
		return err
	}
	dir := there.File()
	if err := checkOwner(dir, g.owner); err != nil {
		dir.Close()
		return err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%w, for an interface of this name in this or another network namespace: stop it, or give each its own pin directory (setting pin)", ErrInUse)
		}
		return fmt.Errorf("lock %s: %w", pin, err)
	}
	g.release(iface)
	g.held[iface] = dir
	return nil
}

// Locks are the files whose locks say that this process holds the pins, by interface: whoever has them holds the pins, too.
func (g *Programs) Locks() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	locks := make(map[string]int)
	for iface, f := range g.held {
		locks[iface] = int(f.Fd())
	}
	return locks
}

// Retake gives the pinned links these programs again, after another process that took them over has come to nothing.
func (g *Programs) Retake() error {
	g.listing.Lock()
	g.listed = nil // it may have written others
	g.listing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, a := range g.at {
		if a.xdp != nil && a.egress != nil {
			errs = append(errs, a.updateLinks(a.pin != ""))
		}
	}
	return errors.Join(errs...)
}

// release unlocks the pin directory of an interface.
func (g *Programs) release(iface string) {
	if f := g.held[iface]; f != nil {
		f.Close()
		delete(g.held, iface)
	}
}
