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
