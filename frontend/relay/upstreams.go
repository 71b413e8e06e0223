package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Upstreams opens sockets to one server, for flows that need no particular one. It is safe for concurrent use.
type Upstreams struct {
	server netip.AddrPort
	most   int // sockets whose ports the kernel chooses
	first  uint16
	next   atomic.Uint32
}

const (
	// portsLeft is the share of the ephemeral ports that is left to other programs of this host, such as DNS clients:
	// one in portsLeft.
	portsLeft = 4
	// A server on loopback sees further sockets from other addresses of 127.0.0.0/8, all of which belong to this
	// host: every address in turn before the next port, so that few ports are in use.
	loopbackAddresses = 254
	loopbackPorts     = 1024
	loopbackTries     = 16
)

// NewUpstreams makes an Upstreams to server.
func NewUpstreams(server netip.AddrPort) *Upstreams {
	low, high := ephemeral()
	return &Upstreams{server: server, most: PortsMost(), first: uint16(max(low, high+1-loopbackPorts))}
}

// PortsMost is how many ephemeral ports upstream sockets may use.
func PortsMost() int {
	low, high := ephemeral()
	return (high - low + 1) / portsLeft * (portsLeft - 1)
}

// ephemeral returns the kernel's range of ports for unbound sockets.
func ephemeral() (low, high int) {
	low, high = 32768, 60999 // ip(7)
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high)
	}
	return low, high
}

// Bounded reports whether PortsMost limits the sockets to server.
func Bounded(server netip.AddrPort) bool { return !isLoopback4(server.Addr()) }

func isLoopback4(a netip.Addr) bool { return a.Unmap().Is4() && a.IsLoopback() }

// Open opens a socket; used is how many the guard has already.
func (u *Upstreams) Open(used int) (*Upstream, error) {
	if used < u.most {
		if up, err := OpenUpstream(u.server, nil); err == nil || ReasonOf(err) != NoPorts {
			return up, err
		}
	}
	if Bounded(u.server) {
		return nil, errNoPorts
	}
	for range loopbackTries {
		up, err := OpenUpstreamFrom(u.source(), u.server, nil)
		if err == nil || ReasonOf(err) != NoPorts {
			return up, err
		}
	}
	return nil, errNoPorts
}

var errNoPorts = fmt.Errorf("open an upstream socket: %w", unix.EADDRNOTAVAIL)

// source returns the next loopback address and port.
func (u *Upstreams) source() netip.AddrPort {
	n := u.next.Add(1)
	port := u.first + uint16(n/loopbackAddresses%loopbackPorts)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 64, byte(1 + n%loopbackAddresses)}), port)
}

// ReasonOf returns the reason of an error of opening a socket: NoFiles, NoPorts, or Accepted if neither.
func ReasonOf(err error) Reason {
	for _, e := range []error{unix.EMFILE, unix.ENFILE} {
		if errors.Is(err, e) {
			return NoFiles
		}
	}
	// connect(2) returns EAGAIN without a free ephemeral port, bind(2) EADDRINUSE.
	for _, e := range []error{unix.EADDRNOTAVAIL, unix.EAGAIN, unix.EADDRINUSE} {
		if errors.Is(err, e) {
			return NoPorts
		}
	}
	return Accepted
}
