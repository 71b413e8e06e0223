package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

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
	if err := os.MkdirAll(dir, 0o700); err != nil { // whoever can open the maps can read the secrets
		return err
	}
	var on unix.Statfs_t
	if err := unix.Statfs(dir, &on); err != nil {
		return err
	}
	if on.Type != unix.BPF_FS_MAGIC {
		return errors.Join(errors.New("the directory is not on a bpffs: mount -t bpf bpf /sys/fs/bpf"), os.Remove(dir))
	}
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
	if err := a.xdp.Pin(filepath.Join(dir, pinXDP[a.mode])); err != nil {
		return err
	}
	if err := a.egress.Pin(dir, pinEgress, a.progs.egress); err != nil {
		return err
	}
	if err := g.pinTrust(dir); err != nil {
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

// pinMap pins a map by a handle that no one else has: one that is pinned knows one path only, and would move.
func pinMap(m *ebpf.Map, path string) error {
	c, err := m.Clone()
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
		egress, err := tc.Open(d, pinEgress)
		if egress != nil {
			err = egress.Detach()
		}
		errs = append(errs, err)
		for _, file := range []string{pinXDP[AttachNative], pinXDP[AttachGeneric]} {
			l, err := link.LoadPinnedLink(filepath.Join(d, file), nil)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				err = errors.Join(l.Detach(), l.Close())
			}
			errs = append(errs, err)
		}
		errs = append(errs, os.RemoveAll(d))
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
		if _, err := os.Stat(d); err == nil {
			found = true
		} else if !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("unload: %w", err)
		}
	}
	if err := removePins(dir); err != nil {
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
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, guardMapServices), nil)
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

// adoptLinks takes over the pinned links, if there are any that are alive.
func (g *Programs) adoptLinks(a *attachment) (bool, error) {
	if a.pin == "" {
		return false, nil
	}
	mode, err := a.openLinks()
	if err != nil {
		return false, errors.Join(fmt.Errorf("open pinned links: %w", err), a.closeLinks())
	}
	if mode == AttachAuto {
		// None, half of a pair, or links to an interface that is gone: no use to anybody.
		return false, errors.Join(a.closeLinks(), removePins(a.pin))
	}
	ours := g.pinsOurs(a.pin)
	if err := a.updateLinks(ours); err != nil {
		return false, errors.Join(fmt.Errorf("replace the programs of pinned links: %w", hint(err)), a.closeLinks())
	}
	a.mode, a.adopted = mode, true
	if !ours {
		err = g.pinAll(a) // the pinned maps do not fit, or are another guard's: replace them
	}
	return true, err
}

// openLinks opens the pinned links and returns the mode they are in, ModeAuto if they do not hold the interface.
func (a *attachment) openLinks() (AttachMode, error) {
	var mode AttachMode
	for m, file := range pinXDP {
		l, err := link.LoadPinnedLink(filepath.Join(a.pin, file), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		a.xdp, mode = l, m
	}
	var err error
	if a.egress, err = tc.Open(a.pin, pinEgress); err != nil || a.egress == nil || a.xdp == nil {
		return AttachAuto, err
	}
	xdp, err := a.xdp.Info()
	if err != nil {
		return 0, err
	}
	at, err := a.egress.Interface()
	if err != nil {
		return 0, err
	}
	if xdp.XDP() == nil || int(xdp.XDP().Ifindex) != a.index || at != a.index {
		return AttachAuto, nil
	}
	there, err := Attached(a.index)
	if err == nil && there.XDP != uint32(xdp.Program) {
		err = fmt.Errorf("they are attached to an interface of this name in another network namespace: give each its own pin directory (setting pin), or run unload there")
	}
	return mode, err
}

// closeLinks lets go of the links to all interfaces.
func (g *Programs) closeLinks() error {
	var errs []error
	for _, a := range g.at {
		errs = append(errs, a.closeLinks())
	}
	g.at = nil
	return errors.Join(errs...)
}

func (a *attachment) closeLinks() error {
	var errs []error
	if a.xdp != nil {
		errs = append(errs, a.xdp.Close())
		a.xdp = nil
	}
	if a.chain != nil {
		errs = append(errs, a.chain.close())
		a.chain = nil
	}
	if a.egress != nil {
		errs = append(errs, a.egress.Close())
		a.egress = nil
	}
	return errors.Join(errs...)
}

// updateLinks gives the links these programs, the ingress program for several buffers first. pinned: the directory stays.
func (a *attachment) updateLinks(pinned bool) error {
	err := a.xdp.Update(a.progs.frags)
	if err != nil {
		err = a.xdp.Update(a.progs.guard)
	}
	if err != nil {
		return err
	}
	if err := a.egress.Update(a.progs.egress); err != nil || !a.egress.Filter() || !pinned {
		return err
	}
	return a.egress.Pin(a.pin, pinEgress, a.progs.egress) // the pin is the program
}

// GivePins gives the pins and their directory to another user, who can then detach, attach again and take over without
// capabilities.
func (g *Programs) GivePins(uid, gid int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pin == "" {
		return nil
	}
	root := g.pin
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(root, &here), unix.Stat(filepath.Dir(root), &above)); err != nil {
		return err
	}
	if here.Dev != above.Dev {
		return fmt.Errorf("pin to %s: all programs of this host pin there: use a subdirectory of its own", root)
	}
	if err := os.Lchown(root, uid, gid); err != nil {
		return err
	}
	for _, a := range g.at {
		if a.pin == "" {
			continue
		}
		if err := filepath.WalkDir(a.pin, func(path string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		}); err != nil {
			return err
		}
	}
	// The bpffs itself belongs to root, with mode 0700 where systemd mounts it: another user reaches names below it only
	// through a directory that is already open.
	var err error
	if g.root, err = os.Open(root); err != nil {
		return err
	}
	g.pin = fmt.Sprintf("/proc/self/fd/%d", g.root.Fd())
	for _, a := range g.at {
		if a.pin != "" {
			a.pin = PinDir(g.pin, a.iface)
		}
	}
	return nil
}

// checkOwner refuses pins that anybody else created or can change, because the guard would use their maps. Root, this
// process's user and owner, the user it will become, are trusted.
func checkOwner(dir *os.File, owner int) error {
	var stat unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &stat); err != nil {
		return err
	}
	if u := int(stat.Uid); u != 0 && u != os.Geteuid() && u != owner {
		return &hinted{fmt.Errorf("%s belongs to user %d, whose pins are not taken over", dir.Name(), u), unloadHint(dir.Name())}
	}
	if stat.Mode&0o022 != 0 {
		return &hinted{fmt.Errorf("others can write to %s (mode %o)", dir.Name(), stat.Mode&0o777), "chmod 700 " + dir.Name()}
	}
	return nil
}

// unloadHint says how to remove the pins in dir.
func unloadHint(dir string) string {
	return fmt.Sprintf("remove them as root: command unload with setting interface %s setting pin %s", strings.ReplaceAll(filepath.Base(dir), ":", "."), filepath.Dir(dir))
}
