package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

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
	// Another process of that user can put links under any of these names from now on: os.Root leaves the directory by none.
	below, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer below.Close()
	for _, a := range g.at {
		if a.pin == "" {
			continue
		}
		if err := giveAll(below, filepath.Base(a.pin), uid, gid); err != nil {
			return err
		}
	}
	// The bpffs itself belongs to root, with mode 0700 where systemd mounts it: another user reaches names below it only
	// through a directory that is already open.
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

// giveAll gives a directory below root, and all in it, to another user.
func giveAll(root *os.Root, dir string, uid, gid int) error {
	return fs.WalkDir(root.FS(), dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, uid, gid)
	})
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
