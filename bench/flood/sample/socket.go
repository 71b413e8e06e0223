package sample

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// room is the longest datagram read: enough for the start of any flight.
const room = 2048

// errNothing reports an empty socket.
var errNothing = errors.New("nothing has come")

// dial opens a client's socket with time stamps of arrivals.
func dial(source netip.Addr, target netip.AddrPort) (*udpbatch.Conn, error) {
	conn, err := udpbatch.DialFrom(netip.AddrPortFrom(source, 0), target)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(conn.FD(), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// send sends d and returns the time, by the clock of arrivals.
func send(conn *udpbatch.Conn, d []byte) (time.Time, error) {
	at := time.Now()
	_, err := unix.Write(conn.FD(), d)
	return at, err
}

// receive returns a datagram, stored in b, and its time of arrival in the kernel.
func receive(conn *udpbatch.Conn, b []byte) (d []byte, at time.Time, err error) {
	var control [64]byte // a time stamp takes 32
	n, m, _, _, err := unix.Recvmsg(conn.FD(), b, control[:], unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil, at, errNothing
	}
	if err != nil {
		return nil, at, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil {
		return nil, at, err
	}
	at = time.Now()
	for _, c := range messages {
		if c.Header.Level == unix.SOL_SOCKET && c.Header.Type == unix.SCM_TIMESTAMPNS && len(c.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			at = time.Unix((*unix.Timespec)(unsafe.Pointer(&c.Data[0])).Unix())
		}
	}
	return b[:n], at, nil
}
