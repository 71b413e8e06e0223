// Package regular opens files that an operator names: regular files only, and without ever waiting for one. A FIFO, a
// device or a socket under such a name would block whoever opens or reads it, for as long as its other end likes.
package regular

import (
	"errors"
	"fmt"
	"io"
	"os"

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

// Append opens a regular file to add to it, and makes it if it is not there, for its owner and group. A symbolic link under the
// name is refused: whoever may write to the directory could have another file written to.
func Append(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o640)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ELOOP) { // a FIFO that nobody reads, or a socket; a symbolic link
		err = &os.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err != nil {
		return nil, err
	}
	return ifRegular(f, name)
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
