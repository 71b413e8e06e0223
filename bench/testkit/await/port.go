package await

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
)

// Ports of servers stay below the ephemeral ones (ip_local_port_range begins at 32768), so that no other socket gets a port between
// its choice and its server's start.
const (
	firstPort = 20000
	ports     = 12000
)

// nextPort begins at a different number in each test process.
var nextPort atomic.Uint32

func init() { nextPort.Store(uint32(os.Getpid() * 37 % ports)) }

// FreePort returns a port on which nothing listens over UDP or TCP, for a server that must be told its port. The next lower one is
// left to servers that use two.
func FreePort(t testing.TB) uint16 {
	t.Helper()
	port, err := Port()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Port is FreePort for those without a test.
func Port() (uint16, error) {
	defer Unshared()()
	for range ports / 2 {
		port := firstPort + int(nextPort.Add(2)%ports)
		u, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			continue
		}
		u.Close()
		l, err := net.ListenTCP("tcp", &net.TCPAddr{Port: port})
		if err != nil {
			continue
		}
		l.Close()
		return uint16(port), nil
	}
	return 0, errors.New("no free port")
}

// Unshared keeps other tests from starting programs until the returned function is called. Between fork and exec a program
// holds copies of all sockets of this process, so the port of a socket that is closed in that time cannot be bound.
func Unshared() func() {
	syscall.ForkLock.RLock()
	return syscall.ForkLock.RUnlock
}
