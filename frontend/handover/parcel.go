package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Version is the version of the parcels that this program writes, and the only one that it reads. Each change of a state's
// meaning increments it; a new optional field does not.
const Version = 1

// ErrVersion reports a state of a version that this program does not read.
var ErrVersion = errors.New("state of another version")

// magic begins the header.
const magic = "dtlsguard state"

const (
	// filesAtOnce is how many files a message carries: SCM_MAX_FD of the kernel is 253.
	filesAtOnce = 250
	// mostState bounds what a receiver reads: a million flows are some 250 MB.
	mostState = 1 << 30
	// mostFiles is above the highest --max-flows.
	mostFiles = 1 << 25
)

// header is the first message of a parcel.
type header struct {
	Magic   string `json:"magic"`
	Version int    `json:"version"`
	Size    int64  `json:"size"`
	Files   int    `json:"files"`
}

// Files are open files in transit, by number.
type Files struct {
	fds   []int
	taken []bool
}

// Add adds a file, which the caller still owns, and returns its number.
func (f *Files) Add(fd int) int {
	f.fds = append(f.fds, fd)
	return len(f.fds) - 1
}

// Len is the number of files.
func (f *Files) Len() int { return len(f.fds) }

// Take passes ownership of a file to the caller; ok is false if there is no file of that number, or it was taken before.
func (f *Files) Take(number int) (fd int, ok bool) {
	if number < 0 || number >= len(f.fds) || f.taken[number] {
		return -1, false
	}
	f.taken[number] = true
	return f.fds[number], true
}

// Close closes the files that nobody took, and returns their number.
func (f *Files) Close() (n int) {
	for i, fd := range f.fds {
		if !f.taken[i] {
			f.taken[i] = true
			_ = unix.Close(fd)
			n++
		}
	}
	return n
}

// Send sends a state and its files. It returns the number of files sent, which is lower only with an error: the receiver then
// gets the state and those files.
func (c *Conn) Send(state []byte, files *Files) (sent int, err error) {
	memory, err := memfd(state)
	if err != nil {
		return 0, err
	}
	defer memory.Close()
	head, err := json.Marshal(header{magic, Version, int64(len(state)), len(files.fds)})
	if err != nil {
		return 0, err
	}
	if err := c.write(head, int(memory.Fd())); err != nil {
		return 0, fmt.Errorf("send the state: %w", err)
	}
	for sent < len(files.fds) {
		n := min(filesAtOnce, len(files.fds)-sent)
		if err := c.write([]byte{'f'}, files.fds[sent:sent+n]...); err != nil {
			return sent, fmt.Errorf("send open files: %w", err)
		}
		sent += n
	}
	return sent, nil
}

// memfd puts b into a file in memory.
func memfd(b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("dtlsguard-state", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make memory for the state: %w", os.NewSyscallError("memfd_create", err))
	}
	f := os.NewFile(uintptr(fd), "state")
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the state: %w", err)
	}
	return f, nil
}

// Receive takes a parcel. Files that the sender could not send are missing, which is not an error. The error is
// ErrVersion if the state is of another version; then nothing is kept.
func (c *Conn) Receive(wait time.Duration) (state []byte, files *Files, err error) {
	files = &Files{}
	defer func() {
		if err != nil {
			files.Close()
		}
	}()
	end := time.Now().Add(wait)
	first, memory, err := c.read(end)
	files.receive(memory)
	if err != nil {
		return nil, files, fmt.Errorf("receive the state: %w", err)
	}
	var h header
	if json.Unmarshal(first, &h) != nil || h.Magic != magic {
		return nil, files, errors.New("receive the state: not a state")
	}
	if h.Version != Version {
		c.discard(h.Files, end)
		return nil, files, fmt.Errorf("%w: it is %d, and this program reads %d", ErrVersion, h.Version, Version)
	}
	if len(memory) != 1 || h.Size < 0 || h.Size > mostState || h.Files < 0 || h.Files > mostFiles {
		return nil, files, errors.New("receive the state: invalid header")
	}
	fd, _ := files.Take(0)
	f := os.NewFile(uintptr(fd), "state")
	defer f.Close()
	state = make([]byte, h.Size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, h.Size), state); err != nil {
		return nil, files, fmt.Errorf("read the state: %w", err)
	}
	files.fds, files.taken = nil, nil
	for files.Len() < h.Files {
		_, some, err := c.read(end)
		files.receive(some)
		if err != nil || len(some) == 0 {
			break // the sender could send no more
		}
	}
	return state, files, nil
}

// discard closes n files of a parcel that is not used: sockets in the queue would keep their ports.
func (c *Conn) discard(n int, end time.Time) {
	for n > 0 {
		_, some, err := c.read(end)
		for _, fd := range some {
			_ = unix.Close(fd)
		}
		if n -= len(some); err != nil || len(some) == 0 {
			return
		}
	}
}

func (f *Files) receive(fds []int) {
	f.fds = append(f.fds, fds...)
	f.taken = append(f.taken, make([]bool, len(fds))...)
}
