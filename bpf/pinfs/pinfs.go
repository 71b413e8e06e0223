// Package pinfs opens directories of pins, and what is pinned there, without following symbolic links.
//
// The user that a guard becomes owns the guard's directory of pins, so another process of that user can put links to the pins of
// others under its names. A guard that root starts, and root's `dtlsguard unload`, must not take those for their own.
package pinfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrForeign reports that a name does not stand for a pin of this directory alone.
var ErrForeign = errors.New("symbolic or hard link, which somebody has put there")

// Dir is an open directory. It stays the same if somebody renames it, or puts another under its name.
type Dir struct{ file *os.File }

// Open opens the directory at path, whose last element must not be a symbolic link; the rest of path is trusted. If there is none,
// the error is [fs.ErrNotExist].
func Open(path string) (*Dir, error) {
	parent, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(parent)
	fd, err := unix.Openat(parent, filepath.Base(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("open %s: %w (rm %s)", path, ErrForeign, path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{os.NewFile(uintptr(fd), path)}, nil
}

// File is the open directory; its name is the path given to [Open].
func (d *Dir) File() *os.File { return d.file }

// Path is a path by which system calls that do not follow a last symbolic link reach name in d.
func (d *Dir) Path(name string) string {
	return filepath.Join(fmt.Sprintf("/proc/self/fd/%d", d.file.Fd()), name)
}

// Close closes d.
func (d *Dir) Close() error { return d.file.Close() }

// Link opens a pinned link, which does not know its path: pinning it elsewhere adds a pin. If there is none, the error is
// [fs.ErrNotExist].
func (d *Dir) Link(name string) (opened link.Link, err error) {
	err = d.open(name, func(path string) error {
		l, err := link.LoadPinnedLink(path, nil)
		if err != nil {
			return err
		}
		opened, err = Clone(l)
		return errors.Join(err, l.Close())
	})
	return opened, err
}

// Map opens a pinned map, as [Dir.Link] does a link.
func (d *Dir) Map(name string) (opened *ebpf.Map, err error) {
	err = d.open(name, func(path string) error {
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return err
		}
		opened, err = m.Clone()
		return errors.Join(err, m.Close())
	})
	return opened, err
}

// open gives load a path that leads to the file that name is now, whatever the name may become.
func (d *Dir) open(name string, load func(path string) error) error {
	fd, err := unix.Openat(int(d.file.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Join(d.file.Name(), name), Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		return fmt.Errorf("open %s: %w", filepath.Join(d.file.Name(), name), ErrForeign)
	}
	return load(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// Clone returns another handle of a link, which is not pinned.
func Clone(l link.Link) (link.Link, error) {
	raw, ok := l.(interface{ FD() int })
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", l)
	}
	fd, err := unix.FcntlInt(uintptr(raw.FD()), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	c, err := link.NewFromFD(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return c, nil
}
