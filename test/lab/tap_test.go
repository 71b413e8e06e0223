package lab

import (
	"bytes"
	"errors"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// tap counts the datagrams that come to a port of a host from outside, independently of the guard: after XDP, where the guard
// is, and before the server's socket. An inline guard asks its server over the loopback interface.
type tap struct {
	t               *testing.T
	fd              int
	received, flood uint64 // of received, those with a flood's mark
}

// openTap opens a tap on all interfaces of h but loopback.
func openTap(t *testing.T, h *lab.Namespace, port uint16) *tap {
	t.Helper()
	p := &tap{t: t}
	if err := h.Do(func() (err error) {
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		const all = unix.ETH_P_ALL>>8 | unix.ETH_P_ALL<<8&0xff00 // in network order
		return errors.Join(
			toPort(p.fd, port),
			unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all}),
		)
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

// toPort filters a packet socket for UDP datagrams to a port; of IP fragments, the first.
func toPort(fd int, port uint16) error {
	const drop, keep = 0, 1 << 16
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1}, // version
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 4, SkipTrue: 10},
		bpf.LoadAbsolute{Off: 9, Size: 1}, // protocol
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 8},
		bpf.LoadMemShift{Off: 0}, // the IPv4 header's length
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.Jump{Skip: 3},
		bpf.LoadAbsolute{Off: 6, Size: 1}, // next header
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 40 + 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: keep},
		bpf.RetConstant{Val: drop},
	})
	if err != nil {
		return err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, f := range program {
		filter[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}

// look counts what has arrived so far. A question that has been answered has arrived.
func (p *tap) look() {
	p.t.Helper()
	for b := make([]byte, 1<<16); ; {
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Hatype == unix.ARPHRD_LOOPBACK {
			continue
		}
		p.received++
		if bytes.Contains(b[:n], []byte(sockets.Marker)) {
			p.flood++
		}
	}
	if s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err != nil || s.Drops > 0 {
		p.t.Errorf("the tap has lost %d datagrams: %v", s.Drops, err)
	}
}
