// Package regular opens files that an operator names: regular files only, and without ever waiting for one. A FIFO, a
// device or a socket under such a name would block whoever opens or reads it, for as long as its other end likes.
package regular

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that a name is not that of a regular file.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a regular file to read, following symbolic links. What else has the name is ErrNotRegular.
func Open(name string) (*os.File, error) {
	// O_NONBLOCK: opening a FIFO returns at once. The kind is asked of what was opened, so a name that changes meanwhile
	// deceives nobody. O_NOCTTY: a terminal does not become this process's own.
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		if errors.Is(err, unix.ENXIO) { // what opening a socket says
			err = &os.PathError{Op: "open", Path: name, Err: ErrNotRegular}
		}
		return nil, err
	}
	return ifRegular(f, name)
}

// ifRegular is f, if it is a regular file.
func ifRegular(f *os.File, name string) (*os.File, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &os.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Append opens a regular file to add to it, and makes it if it is not there, for its owner and group. Whoever may write to a
// directory on the way must not have another file written to: a symbolic link under the name is refused, a file that has other
// names, and a link on the way that belongs to neither root nor this user.
func Append(name string) (*os.File, error) {
	dir, err := openDirectory(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(name), unix.O_WRONLY|unix.O_APPEND|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o640)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ELOOP) { // a FIFO that nobody reads, or a socket; a symbolic link
		err = ErrNotRegular
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := ifRegular(os.NewFile(uintptr(fd), name), name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Nlink > 1 {
		err = &os.PathError{Op: "open", Path: name, Err: errors.New("the file has another name, too: a hard link")}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// mostLinks is how many symbolic links the kernel follows on a way, too.
const mostLinks = 40

// openDirectory opens a directory to open files in it. It goes there name by name, and so knows whose links it follows.
func openDirectory(name string) (*os.File, error) {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	at, err := unix.Open("/", flags, 0)
	for links, left := 0, name; left != "" && err == nil; {
		var next, to string
		if next, left, _ = strings.Cut(left, "/"); next == "" {
			continue
		}
		fd, failed := unix.Openat(at, next, flags, 0)
		if err = failed; err != nil {
			break
		}
		if to, err = ownLink(fd, next); to == "" {
			_ = unix.Close(at)
			at = fd
			continue
		}
		_ = unix.Close(fd)
		if links++; links > mostLinks {
			err = unix.ELOOP
			break
		}
		if left = to + "/" + left; to[0] == '/' {
			_ = unix.Close(at)
			at, err = unix.Open("/", flags, 0)
		}
	}
	if err != nil {
		_ = unix.Close(at)
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(at), name), nil
}

// ownLink is where an open symbolic link leads, "" if fd is none. It is an error if it belongs to neither root nor this user.
func ownLink(fd int, name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", err
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("the symbolic link %s on the way belongs to user %d", name, st.Uid)
	}
	var to [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", to[:])
	return string(to[:n]), err
}

// Read reads a regular file whole, of at most limit bytes.
func Read(name string, limit int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, limit)
	}
	return b, nil
}
