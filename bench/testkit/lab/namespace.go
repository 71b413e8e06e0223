package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is one of a lab's namespaces.
type Namespace struct {
	Name string // below /run/netns, for ip netns exec
	h    netns.NsHandle
	nl   *netlink.Handle
}

// names is the directory of the names of network namespaces (ip-netns(8)).
const names = "/run/netns"

// shareNames makes that directory a mount of its own, as ip netns add does before its first name. If somebody else did so
// later, our names would be mounts below it that cannot be unmounted by their path.
func shareNames() error {
	if err := os.MkdirAll(names, 0o755); err != nil {
		return err
	}
	lock, err := os.Open(filepath.Dir(names)) // a directory whose child can still be unmounted
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	share := func() error { return unix.Mount("", names, "none", unix.MS_SHARED|unix.MS_REC, "") }
	err = share()
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		err = errors.Join(unix.Mount(names, names, "none", unix.MS_BIND|unix.MS_REC, ""), share())
	}
	if err != nil {
		return fmt.Errorf("make %s a mount (needs CAP_SYS_ADMIN): %w", names, err)
	}
	return nil
}

func newNamespace(name string) (*Namespace, error) {
	n := &Namespace{Name: name}
	err := onThread(func() error {
		var err error
		n.h, err = netns.NewNamed(name) // which also enters it
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace %s (needs CAP_SYS_ADMIN): %w", name, err)
	}
	if n.nl, err = netlink.NewHandleAt(n.h, unix.NETLINK_ROUTE); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink in %s: %w", name, err), n.remove())
	}
	lo, err := n.nl.LinkByName("lo")
	if err == nil {
		err = n.nl.LinkSetUp(lo)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set lo up in %s: %w", name, err), n.remove())
	}
	return n, nil
}

// onThread runs f on a thread that ends with it, so that nobody inherits its namespace.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked
		done <- f()
	}()
	return <-done
}

// Do runs f in the namespace: the sockets that it opens and the processes that it starts belong there, but not the
// goroutines that it starts.
func (n *Namespace) Do(f func() error) error {
	return onThread(func() error {
		if err := netns.Set(n.h); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", n.Name, err)
		}
		return f()
	})
}

// Start starts a command in the namespace. The caller waits for it.
func (n *Namespace) Start(cmd *exec.Cmd) error { return n.Do(cmd.Start) }

// Run runs a command in the namespace; an error includes the command's output.
func (n *Namespace) Run(name string, args ...string) error {
	var out []byte
	err := n.Do(func() (err error) {
		out, err = exec.Command(name, args...).CombinedOutput()
		return err
	})
	if err != nil {
		return fmt.Errorf("%s %v in %s: %w\n%s", name, args, n.Name, err, out)
	}
	return nil
}

// ListenUDP opens a UDP socket in the namespace.
func (n *Namespace) ListenUDP(address string) (conn *net.UDPConn, err error) {
	err = n.Do(func() error {
		a, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return err
		}
		conn, err = net.ListenUDP("udp", a)
		return err
	})
	return conn, err
}

// Netlink returns a handle in the namespace.
func (n *Namespace) Netlink() *netlink.Handle { return n.nl }

// sysctl writes a key below net/: /proc shows the namespace of the reader.
func (n *Namespace) sysctl(key, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0) })
}

func (n *Namespace) remove() error {
	if n.nl != nil {
		n.nl.Close()
	}
	return errors.Join(n.h.Close(), netns.DeleteNamed(n.Name))
}
