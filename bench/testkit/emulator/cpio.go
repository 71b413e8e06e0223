package emulator

import (
	"bufio"
	"fmt"
	"io"
)

// archive writes an initramfs: cpio in the "newc" format of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	w     *bufio.Writer
	inode int
	err   error
}

// File types of stat(2).
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// add writes one entry; the content of a symbolic link is its target.
func (a *archive) add(name string, mode uint32, contents []byte) {
	a.inode++
	a.print("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(contents), 0, 0, 0, 0, len(name)+1, 0, name)
	const header = 110
	a.pad(header + len(name) + 1)
	if a.err == nil {
		_, a.err = a.w.Write(contents)
	}
	a.pad(len(contents))
}

func (a *archive) print(format string, args ...any) {
	if a.err == nil {
		_, a.err = fmt.Fprintf(a.w, format, args...)
	}
}

// pad pads to a multiple of 4 bytes.
func (a *archive) pad(n int) { a.print("%s", "\x00\x00\x00"[:-n&3]) }

func (a *archive) close() error {
	a.add("TRAILER!!!", 0, nil)
	if a.err != nil {
		return a.err
	}
	return a.w.Flush()
}

func newArchive(w io.Writer) *archive { return &archive{w: bufio.NewWriterSize(w, 1<<20)} }
