package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is one end of the socket.
type Conn struct{ conn *net.UnixConn }

// Pair makes both ends of a socket. The second one is for another process.
func Pair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	other := os.NewFile(uintptr(fds[1]), "handover")
	c, err := FromFD(fds[0])
	if err != nil {
		other.Close()
		return nil, nil, err
	}
	return c, other, nil
}

// FromFD makes a Conn of an open file and takes ownership of it.
func FromFD(fd int) (*Conn, error) {
	f := os.NewFile(uintptr(fd), "handover")
	if f == nil {
		return nil, fmt.Errorf("file %d is not open", fd)
	}
	return FromFile(f)
}

// FromFile makes a Conn of f, and closes f.
func FromFile(f *os.File) (*Conn, error) {
	defer f.Close() // FileConn has a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("%s is not a socket for a handover: %w", f.Name(), err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s is not a unix socket", f.Name())
	}
	return &Conn{u}, nil
}

// Close closes it.
func (c *Conn) Close() error { return c.conn.Close() }

// Grow makes room for n unread messages, as far as the kernel allows.
func (c *Conn) Grow(n int) {
	const each = 1024 // a message with files and next to no bytes, as the kernel counts it
	_ = c.conn.SetWriteBuffer(n * each)
}

// Message is a message between the two processes.
type Message struct {
	Say     string   `json:"say"`
	Version int      `json:"version,omitempty"` // of the parcels that the sender reads and writes
	Error   string   `json:"error,omitempty"`   // why it failed
	Hint    string   `json:"hint,omitempty"`    // how to fix it
	PID     int      `json:"pid,omitempty"`
	Files   []string `json:"files,omitempty"` // names of the files that come with it
}

// Tell sends a message with the files that it names.
func (c *Conn) Tell(m Message, files ...int) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return c.write(b, files...)
}

// Hear waits for a message. The caller owns its files. io.EOF means that the other end is closed.
func (c *Conn) Hear(wait time.Duration) (m Message, files []int, err error) {
	b, files, err := c.read(time.Now().Add(wait))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err == nil && len(files) != len(m.Files) {
		err = fmt.Errorf("%q came with %d files, and names %d", m.Say, len(files), len(m.Files))
	}
	if err != nil {
		for _, fd := range files {
			_ = unix.Close(fd)
		}
		return Message{}, nil, err
	}
	return m, files, nil
}

// sendTime is how long the other end may take to make room for a message.
const sendTime = 5 * time.Second

func (c *Conn) write(b []byte, files ...int) error {
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(sendTime))
	_, _, err := c.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// mostMessage is the longest message in bytes.
const mostMessage = 64 << 10

func (c *Conn) read(end time.Time) (b []byte, files []int, err error) {
	b, oob := make([]byte, mostMessage), make([]byte, unix.CmsgSpace(4*filesAtOnce))
	_ = c.conn.SetReadDeadline(end)
	n, oobn, flags, _, err := c.conn.ReadMsgUnix(b, oob)
	if n == 0 && oobn == 0 && err == nil {
		err = io.EOF
	}
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	if err != nil {
		return nil, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, err
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			files = append(files, fds...)
		}
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = errors.New("a message was cut off: too many open files, or too long")
	}
	return b[:n], files, err
}
