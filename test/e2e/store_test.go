package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// manager is a service manager with a store of file descriptors (sd_notify(3), sd_listen_fds(3)).
type manager struct {
	socket string

	mu    sync.Mutex
	store *os.File // what the guard stored; nil: nothing
}

// startManager starts a manager.
func startManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{socket: filepath.Join(t.TempDir(), "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); m.read(c) }()
	t.Cleanup(func() { c.Close(); <-done; m.take().Close() })
	return m
}

func (m *manager) read(c *net.UnixConn) {
	b, oob := make([]byte, 4096), make([]byte, 256)
	for {
		n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
		if err != nil {
			return
		}
		var fds []int
		if all, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil {
			for i := range all {
				some, _ := unix.ParseUnixRights(&all[i])
				fds = append(fds, some...)
			}
		}
		text := string(b[:n])
		switch {
		case strings.HasPrefix(text, "FDSTORE=1") && len(fds) == 1:
			m.mu.Lock()
			m.store = os.NewFile(uintptr(fds[0]), "store")
			m.mu.Unlock()
			continue
		case strings.HasPrefix(text, "FDSTOREREMOVE=1"):
			m.take().Close()
		}
		for _, fd := range fds {
			_ = unix.Close(fd) // closing a barrier's descriptor answers it
		}
	}
}

// take empties the store.
func (m *manager) take() *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.store
	m.store = nil
	return f
}

// environment is what the manager adds to the environment of its processes.
func (m *manager) environment() []string { return []string{"NOTIFY_SOCKET=" + m.socket, "FDSTORE=1"} }

// restart stops the guard as a service manager does, and starts it again with what it stored.
func (g *process) restart(m *manager) {
	g.t.Helper()
	before := g.pid()
	if err := syscall.Kill(before, syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
	eventually(g.t, "the guard ends", func() bool { return syscall.Kill(before, 0) != nil || zombie(before) })
	f := m.take()
	if f == nil {
		g.t.Fatal("the guard stored nothing")
	}
	defer f.Close()
	// LISTEN_PID is only known to the process itself.
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`}, g.args...)...)
	cmd.Env = append(append(os.Environ(), m.environment()...), "LISTEN_FDS=1", "LISTEN_FDNAMES=dtlsguard-state")
	cmd.ExtraFiles = []*os.File{f}
	g.launch(cmd)
	eventually(g.t, "the guard is ready again", func() bool { s := g.status(); return s != nil && s.Ready && s.PID != before })
}

// TestListenChanges: a service whose address becomes the wildcard, or stops being it, is served after an upgrade and
// after a restart. Its flows end, which is logged; those of other services do not.
func TestListenChanges(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"upgrade", "restart"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			m := startManager(t)
			s := echoServer(t, address("127.0.0.1", freePort(t)), "trust")
			g := runGuard(t, s.addr, m.environment()...)
			same := address("127.0.0.1", freePort(t))
			listenAt := func(hosts ...string) {
				t.Helper()
				text := fmt.Sprintf("[[service]]\nlisten = %q\nbackend = %q\n", same, s.addr)
				for _, host := range hosts {
					text += fmt.Sprintf("[[service]]\nlisten = \"%s:%d\"\nbackend = %q\n", host, g.addr.Port(), s.addr)
				}
				g.configure(text)
				if how == "upgrade" {
					g.upgrade()
				} else {
					g.restart(m)
				}
				eventually(t, "all services are ready", func() bool { st := g.status(); return st != nil && st.Ready })
			}
			listenAt("127.0.0.1")
			stays := dialOpenSSL(t, same)
			for n, hosts := range [][]string{{"[::]"}, {"127.0.0.1", "127.0.0.2"}} {
				c := dialOpenSSL(t, g.addr)
				c.ping("ping before")
				stays.ping(fmt.Sprintf("ping before %d", n))
				listenAt(hosts...)
				if st := g.status(); st.Flows != 1 {
					t.Errorf("%v: %d flows, want that of the service that stayed", hosts, st.Flows)
				}
				stays.ping(fmt.Sprintf("ping after %d", n))
				c.stop()
				b, err := os.ReadFile(g.log)
				if said := strings.Count(string(b), "flows could not be taken over"); said != n+1 || err != nil {
					t.Errorf("%v: the log tells of flows that ended %d times, want %d: %v", hosts, said, n+1, err)
				}
			}
			dialOpenSSL(t, g.addr).ping("ping at last")
		})
	}
}
