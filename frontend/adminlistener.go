package frontend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// Limits of a listener, so that no client of it can exhaust the guard.
const (
	// AdminConnections is the limit of connections of each of the two listeners: a few scrapers, health checks and operators.
	// With the listeners they stay below the number of files reserved for them.
	AdminConnections = 24
	// adminHeader: seconds are enough for a request that fits one packet, and limit a malicious one.
	adminHeader = 5 * time.Second
	adminRead   = 10 * time.Second
	// adminWrite is longer than a slowly read scrape. A handler that follows events sets its own.
	adminWrite = 30 * time.Second
	// adminStall is how long a reader over the network may take for adminPiece bytes: a few retransmissions, at 8 kB/s. The
	// control socket's readers are operators, who may look at a page of flows for longer.
	adminStall = 2 * time.Second
	adminPiece = 16 << 10
	// adminIdle is longer than the usual 15 s between two scrapes.
	adminIdle = time.Minute
	// Bytes of a request; no legitimate header or body comes near them.
	adminMaxHeader = 16 << 10
	adminMaxBody   = 64 << 10
)

// AdminListener is an HTTP listener for operators and monitoring.
type AdminListener struct {
	listener net.Listener
	server   *http.Server
	own      []*os.File // what Give gives away: the control socket's file, and its directory if this guard made it
	web      WebConfig
	users    bool         // web had users when the guard started
	log      *slog.Logger // with web

	mu    sync.Mutex
	conns []*adminConn // the one that has waited longest for progress first
}

// adminConn is an accepted connection.
type adminConn struct {
	net.Conn
	listener *AdminListener
	stall    time.Duration // adminStall, or 0
	mu       sync.Mutex
	limit    time.Time // what was set as write deadline
}

// SetWriteDeadline implements net.Conn.
func (c *adminConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = t
	return c.Conn.SetWriteDeadline(t)
}

// Write implements net.Conn: each piece has a time limit of its own, and is progress.
func (c *adminConn) Write(b []byte) (n int, err error) {
	for {
		if err := c.renew(); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(b[n:min(n+adminPiece, len(b))])
		n += k
		if err != nil || n == len(b) {
			return n, err
		}
		c.listener.progress(c)
	}
}

// renew gives the next piece its time.
func (c *adminConn) renew() error {
	if c.stall == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	end := time.Now().Add(c.stall)
	if !c.limit.IsZero() && c.limit.Before(end) {
		end = c.limit
	}
	return c.Conn.SetWriteDeadline(end)
}

// OpenMetrics opens the metrics address; nothing is served before Serve.
func OpenMetrics(addr string) (*AdminListener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, hint.Errorf("choose another address for metrics, or switch them off", "serve metrics on %s: %w", addr, err)
	}
	return &AdminListener{listener: l}, nil
}

// OpenControl opens the control socket, for its owner only. It replaces a socket that a dead guard left, but not one that a
// living guard answers on, nor one in a directory where other users may create files.
func OpenControl(path string) (*AdminListener, error) {
	var own []*os.File
	if os.Mkdir(filepath.Dir(path), 0o755) == nil { //nolint:gosec // the socket's mode decides who may ask
		d, err := openOwn(filepath.Dir(path), unix.S_IFDIR)
		if err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		own = append(own, d)
	}
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return nil, hint.Errorf("choose another control socket, or switch it off", "control socket %s: %w", path, err)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, hint.Errorf("stop it, or choose another control socket", "control socket %s: another dtlsguard answers there", path)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: remove the one a dead guard left: %w", err)
		}
	}
	// Created with its final mode: between bind and chmod the umask would decide.
	mask := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(mask)
	if err != nil {
		return nil, hint.Errorf("choose another control socket, or switch it off", "control socket %s: %w", path, err)
	}
	file, err := openOwn(path, unix.S_IFSOCK)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &AdminListener{listener: l, own: append(own, file)}, nil
}

// openOwn opens what this process has just made under a name, for nothing but to change its owner. Another user may own the
// directory and put a link to somebody's file there at any time: that is refused.
func openOwn(path string, kind uint32) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != kind || int(st.Uid) != os.Geteuid() || kind == unix.S_IFSOCK && st.Nlink != 1) {
		err = fmt.Errorf("%s is not what this guard has made there: somebody else can write to %s", path, filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ownDirectory refuses a directory that everybody may write to: whoever creates the socket first would be asked instead of the
// guard.
func ownDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("%s can be written to by everybody, so anybody could answer there", dir)
	}
	return nil
}

// Addr is where it listens.
func (l *AdminListener) Addr() net.Addr { return l.listener.Addr() }

// Give gives a control socket that OpenControl made to the user that this process is about to become, and its directory if it
// made that, so that the socket can be removed at the end. An adopted one belongs to that user already. It does nothing on a nil
// AdminListener.
func (l *AdminListener) Give(uid, gid int) (err error) {
	if l == nil {
		return nil
	}
	for _, f := range l.own { // by descriptor: under the name there may be something else by now
		err = errors.Join(err, unix.Fchownat(int(f.Fd()), "", uid, gid, unix.AT_EMPTY_PATH))
	}
	l.keepOwn()
	return err
}

// keepOwn gives nothing away any more.
func (l *AdminListener) keepOwn() {
	for _, f := range l.own {
		f.Close()
	}
	l.own = nil
}

// Serve serves h until Close. It does nothing on a nil AdminListener.
func (l *AdminListener) Serve(h http.Handler) {
	if l == nil {
		return
	}
	l.keepOwn()
	l.server = &http.Server{
		Handler: l.guarded(h), ReadHeaderTimeout: adminHeader, ReadTimeout: adminRead, WriteTimeout: adminWrite, IdleTimeout: adminIdle,
		MaxHeaderBytes: adminMaxHeader,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, accepted(c))
		},
		ConnState: l.state,
	}
	go l.serve()
}

// guarded bounds the body, and counts a request as progress.
func (l *AdminListener) guarded(h http.Handler) http.Handler {
	return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connKey{}).(*adminConn); ok {
			l.progress(c)
		}
		h.ServeHTTP(w, r)
	}), adminMaxBody)
}

// connKey is the key of a request's connection in its context.
type connKey struct{}

// accepted is the connection that was accepted, below TLS if there is TLS.
func accepted(c net.Conn) *adminConn {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	a, _ := c.(*adminConn)
	return a
}

// boundedListener accepts up to AdminConnections connections.
type boundedListener struct {
	net.Listener
	admin *AdminListener
}

func (b boundedListener) Accept() (net.Conn, error) {
	c, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return b.admin.admit(c), nil
}

// admit accepts a connection. If the limit is reached it closes the one that has made no progress for longest: neither idle
// clients nor any that do not read their answers keep others out.
func (l *AdminListener) admit(c net.Conn) *adminConn {
	ac := &adminConn{Conn: c, listener: l}
	if l.Addr().Network() != "unix" {
		ac.stall = adminStall
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= AdminConnections {
		l.conns[0].Close()
		l.conns = slices.Delete(l.conns, 0, 1)
	}
	l.conns = append(l.conns, ac)
	return ac
}

// progress notes that a request has come over c, or that a part of an answer has gone.
func (l *AdminListener) progress(c *adminConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.conns, c); i >= 0 {
		l.conns = append(slices.Delete(l.conns, i, i+1), c)
	}
}

func (l *AdminListener) state(c net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.conns, accepted(c)); i >= 0 {
		l.conns = slices.Delete(l.conns, i, i+1)
	}
}

// Close ends serving. A nil AdminListener is closed already.
func (l *AdminListener) Close() {
	switch {
	case l == nil:
	case l.server != nil:
		_ = l.server.Close()
		// The server knows the listener only once its goroutine runs; a socket file must go in any case.
		fallthrough
	default:
		_ = l.listener.Close()
	}
}
