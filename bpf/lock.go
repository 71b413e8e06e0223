package bpf

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrInUse reports that a running process holds the pin directory.
var ErrInUse = errors.New("another running dtlsguard has its programs there")

// hold locks the pin directory, if there is one, until Close. The kernel releases the lock when the process ends.
func (g *Programs) hold() error {
	if g.pin == "" {
		return nil
	}
	dir, err := os.Open(g.pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if errors.Is(err, os.ErrPermission) {
		return &hinted{fmt.Errorf("the pins belong to another user: %v", err), //nolint:errorlint // no capability would help
			unloadHint(g.pin)}
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
			err = fmt.Errorf("%w, for an interface of this name in this or another network namespace: stop it, or give each its own pin directory", ErrInUse)
		}
		return fmt.Errorf("lock %s: %w", g.pin, err)
	}
	g.release()
	g.held = dir
	return nil
}

// Lock is the file whose lock says that this process holds the pins, -1 if there are none: whoever has it holds them, too.
func (g *Programs) Lock() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return -1
	}
	return int(g.held.Fd())
}

// Pinned reports whether links and maps are pinned, so that another process can take them over.
func (g *Programs) Pinned() bool { return g.Lock() >= 0 }

// Retake gives the pinned links these programs again, after another process that took them over has come to nothing.
func (g *Programs) Retake() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.xdp == nil || g.egress == nil {
		return nil
	}
	return g.updateLinks()
}

// release unlocks the pin directory.
func (g *Programs) release() {
	if g.held != nil {
		g.held.Close()
		g.held = nil
	}
}
