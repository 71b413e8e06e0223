package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// startRule says which program the launcher may start: one that the guard's user cannot have placed, for it would get the
// privileges that the guard has given up.
type startRule struct {
	guard    int      // the guard's user
	writable []string // directories in which the guard itself can write, whoever its user is
}

// installHint is the hint for a program in a place that is not root's alone.
const installHint = "install the program where only root can write, as in /usr/bin, and restart the guard from there"

// check returns an error unless path is a program that may be started. It looks at each directory and each symbolic link on the
// way, from the root: nobody else can change what has been looked at, so the path still means the same when it is started.
func (r *startRule) check(path string) error {
	real, err := walk(path, r.allowed)
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(real)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return hint.Errorf("install it there, or restart the guard", "%s, which the guard was started as, is not there any more", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return hint.Errorf("install it again, or restart the guard", "%s is not a program", path)
	}
	return nil
}

// allowed returns an error if the guard's user could put something else in the place of name.
func (r *startRule) allowed(name string, info os.FileInfo) error {
	for _, dir := range r.writable {
		if d, err := filepath.EvalSymlinks(dir); err == nil && strings.HasPrefix(name, d+"/") {
			return hint.Errorf(installHint, "%s is in %s, where the guard itself can write", name, dir)
		}
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !r.privileged() {
		return nil
	}
	owner, link, sticky := int(stat.Uid), info.Mode()&os.ModeSymlink != 0, info.IsDir() && info.Mode()&os.ModeSticky != 0
	switch {
	case owner != 0 && (owner != os.Geteuid() || owner == r.guard):
		return hint.Errorf(installHint, "%s belongs to user %d: only a program of root's, in directories of root's, is started", name, owner)
	case !link && !sticky && info.Mode().Perm()&0o022 != 0: // in a sticky directory only the owner replaces a file
		return hint.Errorf("chmod go-w "+name, "%s can be written to by others than its owner", name)
	}
	return nil
}

// privileged reports whether this process can do what the guard's user cannot. Without that there is nothing to be gained.
func (r *startRule) privileged() bool {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	err := unix.Capget(&header, &data[0])
	return err != nil || os.Geteuid() != r.guard || data[0].Permitted|data[1].Permitted != 0
}

// mostLinks is how many symbolic links the kernel follows on a way, too.
const mostLinks = 40

// walk calls visit for each name on the way to path, itself included, in the order in which the kernel looks them up, and
// returns the path without symbolic links.
func walk(path string, visit func(name string, info os.FileInfo) error) (string, error) {
	at := "/"
	for left, links := path, 0; ; {
		info, err := os.Lstat(at)
		if err == nil {
			err = visit(at, info)
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			to, err := os.Readlink(at)
			if links++; err != nil || links > mostLinks {
				return "", errors.Join(err, fmt.Errorf("%s: too many symbolic links", path))
			}
			left, at = to+"/"+left, filepath.Dir(at)
			if filepath.IsAbs(to) {
				at = "/"
			}
			continue
		}
		next := ""
		for next == "" && left != "" {
			next, left, _ = strings.Cut(left, "/")
		}
		if next == "" {
			return at, nil
		}
		at = filepath.Join(at, next) // no link is left in it, so .. is the directory above
	}
}
