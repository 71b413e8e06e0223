package privileges

import (
	"errors"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// always is what every guard reads while it serves: names are resolved again (/etc, /run/systemd/resolve), interfaces and
// processors are looked at (/proc, /sys), credentials are read again (/run/credentials).
var always = []string{"/etc", "/proc", "/sys", "/run", "/dev/null", "/usr/share/zoneinfo"}

// Rights on files, as Landlock names them.
const (
	mayRead  = ll.AccessFSReadFile | ll.AccessFSReadDir
	mayWrite = mayRead | ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSMakeReg | ll.AccessFSMakeDir | ll.AccessFSMakeSock |
		ll.AccessFSRemoveFile | ll.AccessFSRemoveDir | ll.AccessFSRefer
	mayPin = mayWrite | ll.AccessFSMakeSym // a link there names the layout of the maps
)

// restrictFiles leaves what is named, by Landlock, which holds whoever the process is. Files that are not there yet
// cannot be named: name their directory. With Exec nothing is restricted, for a program needs what only it knows.
func (c *Config) restrictFiles() error {
	if c.Exec {
		return nil
	}
	if v, err := ll.LandlockGetABIVersion(); err != nil || v < 1 {
		c.Log.Info("files are not restricted: the kernel has no Landlock", "error", err)
		return nil
	}
	var rules []landlock.Rule
	add := func(rights landlock.AccessFSSet, names []string) error {
		for _, name := range names {
			info, err := os.Stat(name)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			may := rights
			if !info.IsDir() {
				may &= ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate
			}
			rules = append(rules, landlock.PathAccess(may, name))
		}
		return nil
	}
	if err := errors.Join(add(mayRead, always), add(mayRead, c.Read), add(mayWrite, c.Write), add(mayPin, c.Pins)); err != nil {
		return err
	}
	err := landlock.V5.BestEffort().RestrictPaths(rules...)
	if errors.Is(err, unix.E2BIG) { // as many layers as the kernel keeps: restricted by whoever started this
		return nil
	}
	return err
}
