package udpbatch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

var littleEndian = func() bool { x := uint16(1); return *(*byte)(unsafe.Pointer(&x)) == 1 }()

// Conn is a non-blocking UDP socket.
type Conn struct {
	fd    int
	v4    bool // a socket of IPv4
	local netip.AddrPort
	peer  netip.AddrPort
	flags int  // MSG_CONFIRM, if the next Send is to confirm the next hop
	whole bool // what is sent is not to be fragmented: the setting of the Queue sent last
}

// Options of a listening socket.
type Options struct {
	ReusePort     bool
	ReceiveBuffer int // bytes asked for; the kernel may grant less: see Buffers. 0: the system's default
	SendBuffer    int
	FreeBind      bool // the address may come later (IPV6_FREEBIND, ipv6(7))
}

// Listen opens a socket bound to addr. The wildcards take what comes to any address, [::] both families. Errors name the address and how
// to fix them.
func Listen(addr netip.AddrPort, o Options) (*Conn, error) {
	// A wildcard's socket must tell which address it was asked at, and only one of IPv6 tells it of both families alike.
	v4 := addr.Addr().Is4() && !addr.Addr().IsUnspecified()
	c, err := open(v4)
	if err != nil {
		return nil, fmt.Errorf("listen on %v: %w", addr, err)
	}
	if err := c.bind(addr, o); err != nil {
		c.Close()
		return nil, fmt.Errorf("listen on %v: %w", addr, withHint(err))
	}
	return c, nil
}

// Share lets sockets with Options.ReusePort join a listening socket that was bound without, and was alone therefore.
func (c *Conn) Share() error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("share %v with other sockets: %w", c.local, err)
	}
	return nil
}

// Dial opens a socket connected to peer, from a local port that the kernel chooses.
func Dial(peer netip.AddrPort) (*Conn, error) { return DialFrom(netip.AddrPort{}, peer) }

// DialFrom opens a socket connected to peer, from local, whose port may be 0. The zero local leaves the choice of
// both to the kernel.
func DialFrom(local, peer netip.AddrPort) (*Conn, error) {
	c, err := open(peer.Addr().Unmap().Is4() && (!local.IsValid() || local.Addr().Unmap().Is4()))
	if err != nil {
		return nil, fmt.Errorf("open a socket to %v: %w", peer, err)
	}
	if local.IsValid() {
		if err := unix.Bind(c.fd, c.sockaddr(local)); err != nil {
			c.Close()
			return nil, fmt.Errorf("open a socket from %v to %v: %w", local, peer, withHint(err))
		}
	}
	if err := unix.Connect(c.fd, c.sockaddr(peer)); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect to %v: %w", peer, withHint(err))
	}
	c.peer = peer
	c.local = c.name()
	return c, nil
}

// open opens a socket of IPv6, which carries IPv4 as well, or one of IPv4 alone. That is cheaper for IPv4: by a fiftieth for an
// answer, and a connected one keeps its route, which one of IPv6 looks up for each datagram to a mapped address.
func open(v4 bool) (*Conn, error) {
	family := unix.AF_INET6
	if v4 {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return nil, withHint(err)
	}
	c := &Conn{fd: fd, v4: v4}
	if v4 {
		return c, nil
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0); err != nil {
		c.Close()
		return nil, fmt.Errorf("let an IPv6 socket carry IPv4: %w", err)
	}
	return c, nil
}

func (c *Conn) bind(addr netip.AddrPort, o Options) error {
	set := func(level, name, value int) error { return unix.SetsockoptInt(c.fd, level, name, value) }
	var errs []error
	if o.ReusePort {
		errs = append(errs, set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
	}
	if o.FreeBind {
		level, name := unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		if c.v4 {
			level, name = unix.IPPROTO_IP, unix.IP_FREEBIND
		}
		errs = append(errs, set(level, name, 1))
	}
	if addr.Addr().IsUnspecified() {
		errs = append(errs, set(unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1))
		if addr.Addr().Is4() {
			addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}), addr.Port())
		}
	}
	// The FORCE variants pass the limits of net.core.*mem_max, where we are privileged.
	if o.ReceiveBuffer > 0 && set(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, o.ReceiveBuffer) != nil {
		errs = append(errs, set(unix.SOL_SOCKET, unix.SO_RCVBUF, o.ReceiveBuffer))
	}
	if o.SendBuffer > 0 && set(unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, o.SendBuffer) != nil {
		errs = append(errs, set(unix.SOL_SOCKET, unix.SO_SNDBUF, o.SendBuffer))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := unix.Bind(c.fd, c.sockaddr(addr)); err != nil {
		return err
	}
	c.local = c.name()
	return nil
}

func (c *Conn) name() netip.AddrPort {
	sa, err := unix.Getsockname(c.fd)
	if err != nil {
		return netip.AddrPort{}
	}
	if in4, ok := sa.(*unix.SockaddrInet4); ok {
		return netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
	}
	in6, ok := sa.(*unix.SockaddrInet6)
	if !ok {
		return netip.AddrPort{}
	}
	addr := netip.AddrFrom16(in6.Addr).Unmap()
	if in6.ZoneId != 0 { // of a link-local address, which is nothing without it
		addr = addr.WithZone(zoneName(in6.ZoneId))
	}
	return netip.AddrPortFrom(addr, uint16(in6.Port))
}

// Buffers reads back the sizes of the socket's buffers in bytes, as the kernel counts them: it doubles what it
// grants, for its own bookkeeping (socket(7)).
func (c *Conn) Buffers() (receive, send int) {
	receive, _ = unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	send, _ = unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	return receive, send
}

// Overruns is the number of datagrams that the kernel dropped because the socket's buffer was full: a counter of the
// socket that wraps at 2^32. A system call; a control message with each datagram (SO_RXQ_OVFL) would cost as much as a
// cookie.
func (c *Conn) Overruns() uint32 {
	var info [skMemInfoVars]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(c.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return info[skMemInfoDrops]
}

// Of linux/sock_diag.h.
const (
	skMemInfoDrops = 8
	skMemInfoVars  = 9
)

// dontFragment sets whether what is sent from now on over IPv4 stays in one piece. Errors leave the socket as it was,
// which works, too.
func (c *Conn) dontFragment(on bool) {
	value := unix.IP_PMTUDISC_WANT // the system's usual
	if on {
		value = unix.IP_PMTUDISC_PROBE // and no ICMP message makes it smaller
	}
	_ = unix.SetsockoptInt(c.fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, value)
	c.whole = on
}

// Confirm lets the next Send tell the kernel that what was sent before has arrived: the entries of the neighbours that it
// goes by are fresh then, and need no probe (MSG_CONFIRM, sendto(2)). While a flood fills the receive ring, answers to
// probes are lost, and the neighbour with them.
func (c *Conn) Confirm() { c.flags = unix.MSG_CONFIRM }

// FD is the file descriptor, for a Poller.
func (c *Conn) FD() int { return c.fd }

// Local is the address that the socket is bound to.
func (c *Conn) Local() netip.AddrPort { return c.local }

// Close closes the socket.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Recv and Send are raw system calls: they never wait, and a batch takes longer than the 20 us after which the scheduler
// takes away what a goroutine in a system call runs on. Getting it back costs a worker more than its cookies. What has
// to wait for the batch instead is a goroutine that the worker's CPU is shared with, or a garbage collection's start.

// Recv fills the free slots of b with what is there, waiting for nothing, and returns how many it filled.
// 0 with a nil error means that nothing is there. A connected socket may report its peer's refusal
// (unix.ECONNREFUSED).
func (c *Conn) Recv(b *Batch) (int, error) {
	b.prepare()
	free := b.hdrs[b.n:]
	if len(free) == 0 {
		return 0, nil
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(c.fd), uintptr(unsafe.Pointer(&free[0])), uintptr(len(free)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.received(int(n))
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// Send sends all of q and empties it, waiting for nothing. A datagram that cannot be sent is skipped; where
// the socket's buffer is full, all the rest is. It returns how many were sent and the last error.
func (c *Conn) Send(q *Queue) (sent int, err error) {
	if q.DontFragment != c.whole {
		c.dontFragment(q.DontFragment)
	}
	if q.Confirm {
		c.Confirm()
	}
	hdrs, flags := q.hdrs[:q.n], c.flags
	q.n, q.size, c.flags = 0, 0, 0
	return sendAll(c.fd, hdrs, flags)
}

// sendAll sends each datagram of hdrs that the kernel takes, and returns how many it took. It goes on after one that was refused;
// the error is the last one's. A full buffer (EAGAIN, ENOBUFS) ends it.
func sendAll(fd int, hdrs []mmsghdr, flags int) (sent int, err error) {
	for len(hdrs) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&hdrs[0])), uintptr(len(hdrs)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), 0, 0)
		switch errno {
		case 0: // a partial send: the next call tells what is wrong with the next datagram
			sent += int(n)
			hdrs = hdrs[n:]
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS:
			return sent, errno
		default:
			err = errno
			hdrs = hdrs[1:]
		}
	}
	return sent, err
}

// withHint adds to a socket error how to fix it.
func withHint(err error) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return hint.Errorf("stop the program that has the port (ss -lunp names it), or choose another port", "%w: another program has the port", err)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return hint.Errorf("choose an address that ip address lists, or for one that comes later (keepalived) use setting freebind", "%w: no interface of this host has the address", err)
	case errors.Is(err, unix.EACCES):
		return hint.Add(err, "run as root or with CAP_NET_BIND_SERVICE, which ports below 1024 need")
	case errors.Is(err, unix.EMFILE):
		return hint.Add(err, "raise the limit of open files (ulimit -n, LimitNOFILE=)")
	case errors.Is(err, unix.EAFNOSUPPORT):
		return hint.Errorf("use net.ipv6.conf.all.disable_ipv6=1 instead, which leaves IPv6 sockets for IPv4", "%w: the kernel was started with ipv6.disable=1", err)
	case errors.Is(err, unix.ENETUNREACH):
		return hint.Errorf("add a route (ip route)", "%w: no route to it", err)
	}
	return os.NewSyscallError("socket", err)
}

// zoneName is the zone of interface i: its name, or its number while it is gone.
func zoneName(i uint32) string {
	if dev, err := net.InterfaceByIndex(int(i)); err == nil {
		return dev.Name
	}
	return strconv.FormatUint(uint64(i), 10)
}

func zoneIndex(zone string) uint32 {
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	n, _ := strconv.ParseUint(zone, 10, 32)
	return uint32(n)
}
