package bpf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// worker answers ClientHellos from a socket of the guard's namespace, until the test ends.
func worker(t *testing.T, l *lab.Lab, g *Programs, key ServiceKey, number int, address string) {
	t.Helper()
	var conn *net.UDPConn
	if err := l.Middle.Do(func() error {
		c := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}), err)
		}}
		p, err := c.ListenPacket(context.Background(), "udp", address)
		if err == nil {
			conn = p.(*net.UDPConn)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = g.AddSocket(key, number, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	const budget = 16
	credit := g.Credit(number)
	credit.Refill(budget)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for {
			n, src, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var h hello.ClientHello
			if hello.Parse(buf[:n], &h) == hello.OK {
				c := testRing.Current().Issue(&cookie.Binding{Source: src.Addr().As16(), SourcePort: src.Port(), DestinationPort: key.Port, Version: h.Version, Random: h.Random})
				conn.WriteToUDPAddrPort(buf[:hello.PutHelloVerify(buf[:n], c[:])], src)
			}
			credit.Refill(budget)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
}

// ClientHellos reach a worker's socket, on the CPU that they came in on or moved to the worker's; its answers
// leave with the server's port, and the server has its own port all the time.
func TestWorkersAnswerInline(t *testing.T) {
	for name, c := range map[string]struct {
		cpus []int
		move bool
	}{"moved": {[]int{1}, true}, "at home": {[]int{0}, true}, "not to be moved": {[]int{1}, false}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			s := inline()
			s.Answer = AnswerWorkers
			g := guarding(t, s)
			if err := g.SetWorkers(c.cpus, c.move); err != nil {
				t.Skipf("needs two CPUs: %v", err)
			}
			if c.move { // its checksums would be lost (MovesPackets)
				if err := l.Client.Run("ethtool", "-K", lab.ToMiddle, "tx", "off"); err != nil {
					t.Skipf("needs ethtool: %v", err)
				}
			}
			attach(t, l, g, lab.ToClient, AttachNative)
			worker(t, l, g, s.ServiceKey, 0, "[::]:4444")
			startServer(t, l, testSecret.Hex(), "5a")
			for client, args := range clients {
				for _, a := range []netip.Addr{lab.Middle4, lab.Middle6} {
					before := counters(t, g)
					c := dial(t, l.Client, append([]string{"taskset", "-c", "0"}, args(a, "4433")...))
					if err := c.echo("by way of a worker"); err != nil {
						t.Fatalf("%s: %v\n%s", client, err, moved(t, g, before))
					}
					now := counters(t, g)
					if now.Verdict[Steered] == before.Verdict[Steered] || now.Socket[SocketSelected] == before.Socket[SocketSelected] ||
						now.Egress[EgressRewritten] == before.Egress[EgressRewritten] || now.Verdict[Answered] != 0 {
						t.Errorf("%s: %s", client, moved(t, g, before))
					}
					c.close()
				}
			}
		})
	}
}

// rawSocket sends frames from the client's interface.
func rawSocket(t *testing.T, l *lab.Lab) (send func(*packet)) {
	t.Helper()
	from, err := l.Client.Netlink().LinkByName(lab.ToMiddle)
	if err != nil {
		t.Fatal(err)
	}
	to, err := l.Middle.Netlink().LinkByName(lab.ToClient)
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	if err := l.Client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	addr := &unix.SockaddrLinklayer{Ifindex: from.Attrs().Index}
	return func(p *packet) {
		copy(p.MACs[:], to.Attrs().HardwareAddr)
		copy(p.MACs[6:], from.Attrs().HardwareAddr)
		for {
			err := unix.Sendto(fd, p.bytes(), 0, addr)
			if err == nil {
				return
			}
			if err != unix.ENOBUFS {
				t.Fatal(err)
			}
		}
	}
}

// Nothing of a flood of spoofed first ClientHellos, junk and wrong cookies reaches the server's socket.
func TestFloodLeavesNothing(t *testing.T) {
	l := newLab(t)
	g := guarding(t, inline())
	attach(t, l, g, lab.ToClient, AttachNative)
	server, err := l.Middle.ListenUDP("[::]:4433")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	send := rawSocket(t, l)
	const flood = 100_000
	r := rand.New(rand.NewPCG(1, 2))
	wrong := hellotest.New()
	wrong.Cookie = make([]byte, 32)
	wrong.Cookie[0] = testRing.Current().KeyID()
	payloads := [][]byte{firstHello, wrong.Bytes(), appData, alert, later, malformed, stun, nil}
	for range flood {
		p := newPacket(payloads[r.IntN(len(payloads))])
		src := client4.Addr().As4()
		binary.BigEndian.PutUint16(src[2:], uint16(r.Uint32()))
		p.Src = netip.AddrPortFrom(netip.AddrFrom4(src), uint16(1+r.IntN(65535)))
		p.Dst = netip.AddrPortFrom(lab.Middle4, 4433)
		if r.IntN(2) == 0 {
			src6 := lab.Client6.As16()
			binary.BigEndian.PutUint32(src6[12:], r.Uint32())
			p.Src = netip.AddrPortFrom(netip.AddrFrom16(src6), p.Src.Port())
			p.Dst = netip.AddrPortFrom(lab.Middle6, 4433)
		}
		send(p)
	}
	// A right one follows all of them on the same path.
	last := newPacket(nil)
	last.Src, last.Dst = netip.AddrPortFrom(lab.Client4, 999), netip.AddrPortFrom(lab.Middle4, 4433)
	last.Payload = second(testRing.Current(), last.Src, 4433)
	send(last)
	var c Counters
	var service uint64
	await.Eventually(t, "all packets are counted", func() bool { // the last may have come by another CPU than those before it
		c, service = counters(t, g), 0
		for v, n := range c.Verdict {
			if Verdict(v) != PassUnprotected {
				service += n
			}
		}
		return service >= flood+1
	})
	buf := make([]byte, 2048)
	server.SetReadDeadline(time.Now().Add(await.Patience))
	n, src, err := server.ReadFromUDPAddrPort(buf)
	if err != nil || src.Port() != 999 || string(buf[:n]) != string(last.Payload) {
		t.Errorf("the server's first datagram: %x from %v, %v", buf[:n], src, err)
	}
	server.SetReadDeadline(time.Now())
	if n, src, err := server.ReadFromUDPAddrPort(buf); err == nil {
		t.Errorf("and one more: %x from %v", buf[:n], src)
	}
	if service != flood+1 || c.Verdict[Answered] == 0 {
		t.Errorf("%d packets to the service, sent %d: %s", service, flood+1, fmt.Sprint(c.Verdict))
	}
	if flows, _, err := g.VerifiedFlows(); flows != 1 || err != nil {
		t.Errorf("%d flows, %v: unverified sources got into the table", flows, err)
	}
}

// Rotation up to ten times per second loses no client, whenever it comes. Each one waits until all have connected since the last
// one, so that no handshake spans two: that client would get a second HelloVerifyRequest, and OpenSSL's DTLSv1_listen takes no third
// ClientHello.
func TestRotationLosesNobody(t *testing.T) {
	const rotations = 30
	l := newLab(t)
	g := guarding(t, inline())
	attach(t, l, g, lab.ToClient, AttachNative)
	startServer(t, l, "trust")
	ctx, cancel := context.WithCancel(t.Context())
	var connected [4]atomic.Int32 // twice the CPUs of a small machine
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i := range connected {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := connectOnce(t, l); err != nil {
					t.Errorf("after %d clients: %v", connected[i].Load(), err)
					cancel()
				}
				connected[i].Add(1)
			}
		})
	}
	ring := testRing
	for n := range byte(rotations) {
		before := make([]int32, len(connected))
		for i := range connected {
			before[i] = connected[i].Load()
		}
		time.Sleep(100 * time.Millisecond)
		for i := range connected {
			await.Eventually(t, "a client connects", func() bool { return ctx.Err() != nil || connected[i].Load() > before[i] })
		}
		next, err := ring.Next(cookie.Secret{n, 0xee}, ring.Current().KeyID()+1)
		if err == nil {
			err = g.SetSecret(next.Current(), next.Previous())
		}
		if err != nil || ctx.Err() != nil {
			t.Fatal("rotation ", n, ": ", err)
		}
		ring = next
	}
}

// connectOnce runs a client that exchanges a line with the server.
func connectOnce(t *testing.T, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := open(ctx, l.Client, clients["openssl"](lab.Middle4, "4433"))
	if err != nil {
		return err
	}
	defer c.close()
	return c.echo("while the secret changes")
}
