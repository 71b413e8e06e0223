package udpbatch

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for many sockets at once: epoll, level-triggered, with an eventfd to wake it.
type Poller struct {
	epoll, wake int
	events      []unix.EpollEvent
}

// Event says that a socket can be read, or has an error to report. A and B are what Add was given.
type Event struct{ A, B int32 }

// wakeA is the A of the Poller's own eventfd; callers use values from 0 up.
const wakeA = -1

// NewPoller makes a poller that reports at most size sockets a call.
func NewPoller(size int) (*Poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll instance: %w", withHint(err))
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("make an eventfd: %w", withHint(err))
	}
	p := &Poller{epoll: epoll, wake: wake, events: make([]unix.EpollEvent, size)}
	if err := p.Add(wake, Event{A: wakeA}); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close gives the descriptors back.
func (p *Poller) Close() error {
	unix.Close(p.wake)
	return unix.Close(p.epoll)
}

// Add watches fd, which must stay open until Remove. e comes back with each of its events; e.A must be 0 or more.
func (p *Poller) Add(fd int, e Event) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: e.A, Pad: e.B}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// Remove stops watching fd. Events of it that Wait returned already are the caller's to ignore.
func (p *Poller) Remove(fd int) { _ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// Wait returns the number of events within timeout milliseconds (-1: for ever, 0: at once) and whether Wake
// was called; Event reads them.
func (p *Poller) Wait(timeout int) (n int, woken bool, err error) {
	for {
		n, err = unix.EpollWait(p.epoll, p.events, timeout)
		if err != unix.EINTR {
			break
		}
	}
	return p.taken(n, err)
}

// Poll sleeps for pause and returns the events that are there then, as [Poller.Wait] does. It is for callers that are woken
// too often otherwise: like Recv and Send it is made of raw system calls, so pause must be short.
func (p *Poller) Poll(pause time.Duration) (n int, woken bool, err error) {
	if pause > 0 {
		t := unix.NsecToTimespec(int64(pause))
		_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0) // a signal may end it earlier
	}
	for {
		got, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		if errno == 0 {
			return p.taken(int(got), nil)
		}
		if errno != unix.EINTR {
			return p.taken(0, errno)
		}
	}
}

// taken sorts the Poller's own event out of n.
func (p *Poller) taken(n int, err error) (_ int, woken bool, _ error) {
	if err != nil {
		return 0, false, fmt.Errorf("wait for sockets: %w", err)
	}
	for i := 0; i < n; i++ {
		if p.events[i].Fd == wakeA {
			woken = true
			var b [8]byte
			_, _ = unix.Read(p.wake, b[:])
			p.events[i] = p.events[n-1]
			n--
			i--
		}
	}
	return n, woken, nil
}

// Event is event i of the last Wait.
func (p *Poller) Event(i int) Event { return Event{p.events[i].Fd, p.events[i].Pad} }

// Wake ends the Wait under way, or the next one. Safe from any goroutine until Close.
func (p *Poller) Wake() {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], 1)
	_, _ = unix.Write(p.wake, b[:]) // fails only when the counter is full, and then it is awake
}
