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

// Version is that of the parcels that this program writes, and the only one that it reads. It goes up with each change of what
// a state means; a field more that may be missing is none.
const Version = 1

// ErrVersion says that a state is of another version than this program reads.
var ErrVersion = errors.New("state of another version")

// magic begins the header.
const magic = "dtlsguard state"

const (
	// filesAtOnce is how many files a message carries: SCM_MAX_FD of the kernel is 253.
	filesAtOnce = 250
	// mostState bounds what a receiver reads: a million flows are some 250 MB.
	mostState = 1 << 30
	// mostFiles is more than --max-flows can be.
	mostFiles = 1 << 25
)

// header is the first message of a parcel.
type header struct {
	Magic   string `json:"magic"`
	Version int    `json:"version"`
	Size    int64  `json:"size"`
	Files   int    `json:"files"`
}

// Files are open files on their way, by number.
type Files struct {
	fds   []int
	taken []bool
}

// Add adds a file, which stays the caller's, and returns its number.
func (f *Files) Add(fd int) int {
	f.fds = append(f.fds, fd)
	return len(f.fds) - 1
}

// Len is how many there are.
func (f *Files) Len() int { return len(f.fds) }

// Take gives a file to the caller; false if there is none of that number, or it was taken before.
func (f *Files) Take(number int) (fd int, ok bool) {
	if number < 0 || number >= len(f.fds) || f.taken[number] {
		return -1, false
	}
	f.taken[number] = true
	return f.fds[number], true
}

// Close closes those that nobody took, and returns how many that were.
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

// Send sends a state and the files that go with it. It returns how many files went, which are fewer than there are only with
// an error: the receiver gets those, and the state.
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

// Receive takes a parcel. Files that the sender could not send are missing; fewer than were announced are no error. The error is
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
		return nil, files, errors.New("receive the state: this is none")
	}
	if h.Version != Version {
		c.discard(h.Files, end)
		return nil, files, fmt.Errorf("%w: it is %d, and this program reads %d", ErrVersion, h.Version, Version)
	}
	if len(memory) != 1 || h.Size < 0 || h.Size > mostState || h.Files < 0 || h.Files > mostFiles {
		return nil, files, errors.New("receive the state: its header makes no sense")
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
			break // what there is is what could be sent
		}
	}
	return state, files, nil
}

// discard closes n files of a parcel that nobody takes: sockets in the queue would keep their ports.
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
