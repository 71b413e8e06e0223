package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

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

// pinAll pins maps and links into a new directory and renames it, so that readers see all or nothing.
func (g *Programs) pinAll() error {
	if g.pin == "" {
		return nil
	}
	if err := g.pinInto(g.pin + unfinished); err != nil {
		return errors.Join(fmt.Errorf("pin to %s: %w", g.pin, err), removePins(g.pin))
	}
	return nil
}

func (g *Programs) pinInto(dir string) error {
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
			if err := m.Pin(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if err := g.xdp.Pin(filepath.Join(dir, pinXDP[g.mode])); err != nil {
		return err
	}
	if err := g.egress.Pin(dir, pinEgress, g.progs.Egress); err != nil {
		return err
	}
	if g.trust != nil {
		if err := g.trust.Pin(filepath.Join(dir, pinTrust)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(g.pin); err != nil {
		return err
	}
	if err := os.Rename(dir, g.pin); err != nil {
		return err
	}
	return g.hold()
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
		for _, file := range []string{pinXDP[AttachNative], pinXDP[AttachGeneric], pinTrust} {
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
		left, err := tc.Remove(egressOptions(dev))
		if err != nil {
			return found, fmt.Errorf("unload: %w", err)
		}
		found = found || left
	}
	return found, nil
}

// adoptLinks takes over the pinned links, if they are still attached to dev.
func (g *Programs) adoptLinks(dev *net.Interface) (bool, AttachMode, error) {
	if g.pin == "" {
		return false, 0, nil
	}
	mode, err := g.openLinks(dev)
	if err != nil {
		return false, 0, errors.Join(fmt.Errorf("open pinned links: %w", err), g.closeLinks())
	}
	if mode == AttachAuto {
		// No links, one of the two, or links to an interface that is gone: useless.
		return false, 0, errors.Join(g.closeLinks(), removePins(g.pin))
	}
	if err := g.updateLinks(); err != nil {
		return false, 0, errors.Join(fmt.Errorf("replace the programs of pinned links: %w", hint(err)), g.closeLinks())
	}
	g.mode = mode
	if !g.adopted {
		err = g.pinAll() // the pinned maps do not fit: replace them
	}
	return true, mode, err
}

// openLinks opens the pinned links and returns their mode, AttachAuto if they are not attached to dev.
func (g *Programs) openLinks(dev *net.Interface) (AttachMode, error) {
	var mode AttachMode
	for m, file := range pinXDP {
		l, err := link.LoadPinnedLink(filepath.Join(g.pin, file), nil)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		g.xdp, mode = l, m
	}
	var err error
	if g.egress, err = tc.Open(g.pin, pinEgress); err != nil || g.egress == nil || g.xdp == nil {
		return AttachAuto, err
	}
	xdp, err := g.xdp.Info()
	if err != nil {
		return 0, err
	}
	at, err := g.egress.Interface()
	if err != nil {
		return 0, err
	}
	if xdp.XDP() == nil || int(xdp.XDP().Ifindex) != dev.Index || at != dev.Index {
		return AttachAuto, nil
	}
	a, err := Attached(dev.Index)
	if err == nil && a.XDP != uint32(xdp.Program) {
		err = fmt.Errorf("they are attached to an interface of this name in another network namespace: give each its own pin directory, or run unload there")
	}
	return mode, err
}

func (g *Programs) closeLinks() error {
	var errs []error
	if g.xdp != nil {
		errs = append(errs, g.xdp.Close())
		g.xdp = nil
	}
	if g.chain != nil {
		errs = append(errs, g.chain.close())
		g.chain = nil
	}
	if g.egress != nil {
		errs = append(errs, g.egress.Close())
		g.egress = nil
	}
	return errors.Join(errs...)
}

// updateLinks switches the links to these programs, the ingress program for several buffers first.
func (g *Programs) updateLinks() error {
	err := g.xdp.Update(g.frags)
	if err != nil {
		err = g.xdp.Update(g.progs.Dtlsguard)
	}
	if err != nil {
		return err
	}
	if err := g.egress.Update(g.progs.Egress); err != nil || !g.egress.Filter() || !g.adopted {
		return err
	}
	return g.egress.Pin(g.pin, pinEgress, g.progs.Egress) // a filter's pin is its program
}

// GivePins gives the pins and their directory to another user, who can then detach, attach again and take over without
// capabilities.
func (g *Programs) GivePins(uid, gid int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pin == "" {
		return nil
	}
	root := filepath.Dir(g.pin)
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
	err := filepath.WalkDir(g.pin, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
	if err != nil {
		return err
	}
	// The bpffs itself belongs to root, with mode 0700 where systemd mounts it: another user reaches names below it only
	// through a directory that is already open.
	if g.root, err = os.Open(root); err != nil {
		return err
	}
	g.pin = fmt.Sprintf("/proc/self/fd/%d/%s", g.root.Fd(), filepath.Base(g.pin))
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
