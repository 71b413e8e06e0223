package frontend

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// adminName names an admin listener for a successor: what it serves, and its configured address.
func adminName(kind, addr string) string { return kind + "=" + addr }

// AdoptAdmin returns the predecessor's listener of that kind and address, nil if it has none. Until Own is called, closing it
// does not affect the predecessor's.
func AdoptAdmin(p *Predecessor, kind, addr string) (*AdminListener, error) {
	fd := p.File(adminName(kind, addr))
	if fd < 0 {
		return nil, nil
	}
	f := os.NewFile(uintptr(fd), kind)
	defer f.Close() // FileListener has a copy
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("take over %s on %s: %w", kind, addr, err)
	}
	a := &AdminListener{listener: l}
	a.unlink(false)
	return a, nil
}

// Hand adds the listener's file to those that a successor gets.
func (l *AdminListener) Hand(kind, addr string, files map[string]int) {
	if l == nil {
		return
	}
	if c, ok := l.listener.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { files[adminName(kind, addr)] = int(fd) })
		}
	}
}

// Own makes an adopted listener this process's own: its socket file is removed with it.
func (l *AdminListener) Own() {
	if l != nil {
		l.unlink(true)
	}
}

// leaveTime bounds requests in progress when a successor has the listener.
const leaveTime = 2 * time.Second

// Stop accepts no more connections; a successor has the socket.
func (l *AdminListener) Stop() {
	if l != nil {
		l.unlink(false)
		_ = l.listener.Close()
	}
}

// Leave ends serving once requests in progress are answered.
func (l *AdminListener) Leave() {
	if l == nil || l.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	_ = l.server.Shutdown(ctx)
}

func (l *AdminListener) unlink(on bool) {
	if u, ok := l.listener.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(on)
	}
}
