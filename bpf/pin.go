package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf/pinfs"
	"github.com/dtlsguard/dtlsguard/bpf/tc"
)

// PinRoot is the default parent of pin directories.
const PinRoot = "/sys/fs/bpf/dtlsguard"

// PinDir is the pin directory of an interface below root. A bpffs has no names with dots, an interface none with colons.
func PinDir(root, iface string) string {
	return filepath.Join(root, strings.ReplaceAll(iface, ".", ":"))
}

// unfinished is the suffix of a directory that is being filled.
const unfinished = ":new"

// Names of pinned links. The name of the ingress link has its mode, which the kernel does not report.
const (
	pinEgress = "link_egress"
	pinTrust  = "link_trust"
)

var pinXDP = map[AttachMode]string{AttachNative: "link_native", AttachGeneric: "link_generic"}

// pinAll pins maps and links of an attachment into a directory next to the final one and renames that, so that a reader
// finds all or nothing. Each interface's directory has the maps, whatever others there are, so that each can be taken over
// or unloaded by itself.
func (g *Programs) pinAll(a *attachment) error {
	if a.pin == "" {
		return nil
	}
	if err := g.pinInto(a, a.pin+unfinished); err != nil {
		return errors.Join(fmt.Errorf("pin to %s: %w", a.pin, err), removePins(a.pin))
	}
	return nil
}

func (g *Programs) pinInto(a *attachment, dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil { // whoever can open the maps can read the secrets
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	made, err := pinfs.Open(dir)
	if err != nil {
		return err
	}
	defer made.Close()
	var on unix.Statfs_t
	if err := unix.Fstatfs(int(made.File().Fd()), &on); err != nil {
		return err
	}
	if on.Type != unix.BPF_FS_MAGIC {
		return errors.Join(errors.New("the directory is not on a bpffs: mount -t bpf bpf /sys/fs/bpf"), os.Remove(dir))
	}
	if err := g.fill(a, made.Path(".")); err != nil {
		return err
	}
	if err := os.RemoveAll(a.pin); err != nil {
		return err
	}
	if err := os.Rename(dir, a.pin); err != nil {
		return err
	}
	return g.hold(a.iface)
}

// fill pins maps and links into dir, a path by a descriptor.
func (g *Programs) fill(a *attachment, dir string) error {
	if err := os.Symlink(g.layout, filepath.Join(dir, layoutPin)); err != nil {
		return err
	}
	for name, m := range g.named {
		if pins(name) {
			if err := pinMap(m, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if err := pinLink(a.xdp, filepath.Join(dir, pinXDP[a.mode])); err != nil {
		return err
	}
	if err := a.egress.Pin(dir, pinEgress, a.progs.egress); err != nil {
		return err
	}
	if err := a.pinIngress(dir); err != nil {
		return err
	}
	return g.pinTrust(dir)
}

// pinMap pins a map by a handle that no one else has: one that is pinned knows one path only, and would move.
func pinMap(m *ebpf.Map, path string) error {
	c, err := m.Clone()
	if err != nil {
		return err
	}
	return errors.Join(c.Pin(path), c.Close())
}

// pinLink pins a link by a handle that no one else has, for the same reason.
func pinLink(l link.Link, path string) error {
	c, err := pinfs.Clone(l)
	if err != nil {
		return err
	}
	return errors.Join(c.Pin(path), c.Close())
}

// removePins removes a pin directory, finished or not. It detaches the links first: the kernel releases an unlinked pin
// later, in its own time.
func removePins(dir string) error {
	var errs []error
	for _, d := range []string{dir, dir + unfinished} {
		switch there, err := pinfs.Open(d); {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			errs = append(errs, err)
		default:
			errs = append(errs, detachPinned(there), there.Close())
		}
		errs = append(errs, os.RemoveAll(d)) // it follows no link
	}
	return errors.Join(errs...)
}

// detachPinned detaches the links that are pinned in a directory.
func detachPinned(dir *pinfs.Dir) error {
	var errs []error
	for name, o := range map[string]tc.Options{pinEgress: egressOptions(0), pinIngress: ingressOptions(0)} {
		a, err := tc.Open(dir, name, o)
		if a != nil {
			err = a.Detach()
		}
		errs = append(errs, err)
	}
	for _, file := range pinXDP {
		l, err := dir.Link(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(l.Detach(), l.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Unload detaches what any process has pinned in dir, and reports whether there was anything.
func Unload(dir string) (bool, error) {
	found := false
	var on unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(dir), &on); err == nil && on.Type != unix.BPF_FS_MAGIC {
		return false, fmt.Errorf("unload: %s is not on a bpffs, so nothing is pinned there; nothing was removed", filepath.Dir(dir))
	}
	for _, d := range []string{dir, dir + unfinished} {
		if _, err := os.Lstat(d); err == nil {
			found = true
		} else if !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("unload: %w", err)
		}
	}
	switch err := removePins(dir); {
	case errors.Is(err, pinfs.ErrForeign):
		return found, &hinted{fmt.Errorf("unload: %w", err), "its name was removed, what it leads to was not touched; bpftool net shows what is attached"}
	case err != nil:
		return found, fmt.Errorf("unload: %w", err)
	}
	// A filter also outlives a process without pins.
	if dev, err := net.InterfaceByName(strings.ReplaceAll(filepath.Base(dir), ":", ".")); err == nil {
		left, err := tc.Remove(egressOptions(dev.Index))
		if err != nil {
			return found, fmt.Errorf("unload: %w", err)
		}
		found = found || left
	}
	return found, nil
}

// pinsOurs reports whether the maps in a directory are those of g.
func (g *Programs) pinsOurs(dir string) bool {
	there, err := pinfs.Open(dir)
	if err != nil {
		return false
	}
	defer there.Close()
	m, err := there.Map(guardMapServices)
	if err != nil {
		return false
	}
	defer m.Close()
	theirs, err := m.Info()
	if err != nil {
		return false
	}
	ours, err := g.maps.Services.Info()
	if err != nil {
		return false
	}
	a, ok := theirs.ID()
	b, okToo := ours.ID()
	return ok && okToo && a == b
}

// DetachOthers takes the programs off interfaces that an earlier process with the same maps has left them on, and that this
// one is not attached to. It returns the names of their directories.
func (g *Programs) DetachOthers() (names []string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pin == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(g.pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var errs []error
	for _, e := range entries {
		dir := filepath.Join(g.pin, e.Name())
		if slices.ContainsFunc(g.at, func(a *attachment) bool { return filepath.Base(a.pin) == e.Name() }) || !g.pinsOurs(dir) || InUse(dir) {
			continue
		}
		names = append(names, e.Name())
		errs = append(errs, removePins(dir))
	}
	return names, errors.Join(append(errs, err)...)
}

// unloadHint says how to remove the pins in dir.
func unloadHint(dir string) string {
	return fmt.Sprintf("remove them as root: command unload with setting interface %s setting pin %s", strings.ReplaceAll(filepath.Base(dir), ":", "."), filepath.Dir(dir))
}
