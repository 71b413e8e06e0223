package attacks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// forger sends datagrams to a guard in groups, each group from an unused address of 127.0.0.0/8. Groups are prepared, and only
// what differs from one datagram to the next is written; each group passes the kernel as one packet, which is divided where it
// arrives (UDP_SEGMENT, udp(7)): datagrams sent one by one cost several times as much.
type forger struct {
	sent, refused atomic.Uint64 // refused by the kernel for lack of buffers
	cpu           time.Duration // of the sending thread

	kind     attack
	random   *rand.PCG
	conn     *udpbatch.Conn
	prepared [forgerGroups][]byte
	routes   [forgerGroups]udpbatch.Route
	queue    *udpbatch.Queue
}

// attack describes the datagrams of an attack.
type attack struct {
	bytes []byte                                  // a template
	size  func(r uint64) int                      // the length of a batch's datagrams
	vary  func(d []byte, i int, random *rand.PCG) // varies d, the i-th of a group
}

const (
	forgerGroups = 8
	forgerGroup  = 16
	forgerTick   = time.Millisecond
)

func newForger(t *testing.T, to netip.AddrPort, kind attack) *forger {
	t.Helper()
	conn, err := udpbatch.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), 0), udpbatch.Options{ReceiveBuffer: 1}) // nobody reads the answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f := &forger{kind: kind, conn: conn, random: rand.NewPCG(rand.Uint64(), rand.Uint64()), queue: udpbatch.NewQueue(forgerGroups)}
	f.queue.DontFragment = true
	for i := range f.prepared {
		f.prepared[i], f.routes[i] = make([]byte, forgerGroup*len(kind.bytes)), udpbatch.NewRoute(to)
	}
	return f
}

// run sends perSecond datagrams, or as many as it can, until ctx ends.
func (f *forger) run(ctx context.Context, perSecond int) {
	runtime.LockOSThread() // the scheduler would move the goroutine at each long system call
	defer runtime.UnlockOSThread()
	used := threadCPU()
	defer func() { f.cpu = threadCPU() - used }()
	began := time.Now()
	for ctx.Err() == nil {
		due := int(time.Since(began).Seconds()*float64(perSecond)) - int(f.sent.Load()+f.refused.Load())
		if due < forgerGroup {
			time.Sleep(forgerTick)
			continue
		}
		f.send(min(due/forgerGroup, forgerGroups))
	}
}

// send sends n groups.
func (f *forger) send(n int) {
	size := f.kind.size(f.random.Uint64())
	if err := unix.SetsockoptInt(f.conn.FD(), unix.SOL_UDP, unix.UDP_SEGMENT, size); err != nil {
		panic(err) // since Linux 4.18
	}
	for i := range n {
		group := f.prepared[i][:forgerGroup*size]
		for j := range forgerGroup {
			d := group[j*size:][:size]
			copy(d, f.kind.bytes)
			f.kind.vary(d, j, f.random)
		}
		r := f.random.Uint64()
		f.routes[i].From([16]byte{10: 0xff, 11: 0xff, 12: 127, 13: 2 + byte(r>>24)%12, 14: byte(r), 15: 1 + byte(r>>8)%254})
		f.queue.Add(group, &f.routes[i])
	}
	sent, _ := f.conn.Send(f.queue)
	f.sent.Add(uint64(forgerGroup * sent))
	f.refused.Add(uint64(forgerGroup * (n - sent)))
}

// rate is datagrams sent per second.
func (f *forger) rate(seconds float64) float64 { return float64(f.sent.Load()) / seconds }

// says reports the rate over seconds, the rate asked for, and the CPU time per datagram, which includes the kernel's delivery to
// the guard's socket.
func (f *forger) says(seconds float64, perSecond int) string {
	n := f.sent.Load()
	return fmt.Sprintf("%d (%.0f/s of %d/s, %d refused, %v of CPU each)", n, f.rate(seconds), perSecond, f.refused.Load(), f.cpu/time.Duration(max(n, 1)))
}

// threadCPU is the CPU time of the calling thread.
func threadCPU() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// guesses are ClientHellos with real cookies of the server, as any client can collect, but of other handshakes.
func guesses(cookies [][]byte) attack {
	d := (&hello.Probe{MessageSeq: 1, RecordSeq: 1, Cookie: cookies[0]}).Append(nil) // a ClientHello that servers accept
	const randomAt, cookieAt = 27, 27 + 32 + 1 + 1                                   // without a session_id
	return attack{d, func(uint64) int { return len(d) }, func(d []byte, _ int, random *rand.PCG) {
		r := random.Uint64()
		for i := 0; i < 32; i += 8 {
			binary.NativeEndian.PutUint64(d[randomAt+i:], r+uint64(i))
		}
		copy(d[cookieAt:], cookies[r%uint64(len(cookies))])
	}}
}

// junk is random bytes, records of unknown sessions, and fragments of ClientHellos.
func junk() attack {
	const longest, shortest, header = 200, 24, 13
	d := slices.Concat(newHello().Bytes(), make([]byte, longest))[:longest]
	return attack{d, func(r uint64) int { return shortest + int(r%(longest-shortest)) }, func(d []byte, i int, random *rand.PCG) {
		switch i % 4 {
		case 0: // a fragment of a ClientHello
			return
		case 1:
			copy(d, record(23, 1))
		default:
			binary.NativeEndian.PutUint64(d, random.Uint64())
		}
		binary.NativeEndian.PutUint64(d[header:], random.Uint64())
	}}
}

// alertAll sends a forged alert from each port of a client's address until ctx ends. It needs CAP_NET_RAW.
func alertAll(ctx context.Context, from netip.Addr, to netip.AddrPort) (sent int, err error) {
	socket, err := net.ListenIP("ip4:udp", &net.IPAddr{IP: from.AsSlice()})
	if err != nil {
		return 0, err
	}
	defer socket.Close()
	_ = socket.SetReadBuffer(1)
	conn := ipv4.NewPacketConn(socket)
	const udpHeader, atOnce = 8, 64
	list := make([]ipv4.Message, atOnce)
	for i := range list {
		d := make([]byte, udpHeader, udpHeader+len(forgedAlert)) // without a checksum
		binary.BigEndian.PutUint16(d[2:], to.Port())
		binary.BigEndian.PutUint16(d[4:], uint16(udpHeader+len(forgedAlert)))
		list[i] = ipv4.Message{Buffers: [][]byte{append(d, forgedAlert...)}, Addr: &net.IPAddr{IP: to.Addr().AsSlice()}}
	}
	for port := 1024; port < 1<<16 && ctx.Err() == nil; port += len(list) {
		for i := range list {
			binary.BigEndian.PutUint16(list[i].Buffers[0], uint16(port+i))
		}
		n, err := conn.WriteBatch(list, 0)
		sent += max(n, 0)
		if errors.Is(err, os.ErrPermission) {
			return sent, fmt.Errorf("forge alerts: %w", err)
		}
		if errors.Is(err, unix.ENOBUFS) {
			time.Sleep(forgerTick)
		}
	}
	return sent, nil
}
