package udpbatch

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openRaw opens raw sockets, or skips the test where it may not.
func openRaw(t *testing.T) *RawSockets {
	t.Helper()
	raw, err := OpenRaw(1 << 20)
	if errors.Is(err, unix.EPERM) {
		t.Skip("raw sockets need CAP_NET_RAW")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	return raw
}

// Raw sockets answer from a port that another socket has, over both families in one queue, with right checksums: the kernel drops
// others. Datagrams have the source that their route names, or the sender's.
func TestRawSender(t *testing.T) {
	raw := openRaw(t)
	type end struct {
		client *net.UDPConn
		from   netip.AddrPort
		route  Route
	}
	for _, wildcard := range []bool{false, true} {
		var ends []end
		for _, host := range []string{"127.0.0.1", "::1"} {
			server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
			if err != nil {
				t.Skip(err) // no IPv6
			}
			defer server.Close()
			client, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			e := end{client, server.LocalAddr().(*net.UDPAddr).AddrPort(), NewRoute(client.LocalAddr().(*net.UDPAddr).AddrPort())}
			if wildcard {
				e.route.From(e.from.Addr().As16())
			}
			ends = append(ends, e)
		}
		for _, size := range []int{0, 1, 60, 61, 67, 1200} {
			d := bytes.Repeat([]byte{0xff, 3, 0xa5}, 400)[:size]
			q := NewQueue(8)
			for _, e := range ends {
				from := e.from
				if wildcard {
					from = netip.AddrPortFrom(netip.IPv6Unspecified(), from.Port())
				}
				q.Add(d, &e.route)
				if sent, err := raw.NewSender(from, 8).Send(q); sent != 1 || err != nil {
					t.Fatalf("%v, %d bytes: sent %d, %v", e.from, size, sent, err)
				}
				b := make([]byte, 2000)
				_ = e.client.SetReadDeadline(time.Now().Add(5 * time.Second))
				n, peer, err := e.client.ReadFromUDPAddrPort(b)
				if err != nil || !bytes.Equal(b[:n], d) || netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()) != e.from {
					t.Errorf("%d bytes from %v: got %d from %v, %v", size, e.from, n, peer, err)
				}
			}
		}
	}
}

// What has no peer or no source is skipped, and the rest is sent. Nothing is allocated.
func TestRawSenderSkips(t *testing.T) {
	raw := openRaw(t)
	client, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	good := NewRoute(client.LocalAddr().(*net.UDPAddr).AddrPort())
	d, q := make([]byte, 60), NewQueue(8)
	s := raw.NewSender(netip.MustParseAddrPort("127.0.0.1:4433"), 8)
	batch := func() (int, error) {
		q.Add(d, nil)
		q.Add(d, &good)
		q.Add(d, &good)
		return s.Send(q)
	}
	if sent, err := batch(); sent != 2 || err != nil || q.Len() != 0 {
		t.Errorf("sent %d of 3, of which 2 can be sent, %d left: %v", sent, q.Len(), err)
	}
	none := raw.NewSender(netip.MustParseAddrPort("[::]:4433"), 8)
	q.Add(d, &good)
	if sent, _ := none.Send(q); sent != 0 {
		t.Error("a datagram without a source was sent")
	}
	if n := testing.AllocsPerRun(50, func() { _, _ = batch() }); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
}

// BenchmarkRawSender measures, in turns, batches of 64 answers by a raw socket and by one that has the port, to a socket that
// takes none.
func BenchmarkRawSender(b *testing.B) {
	raw, err := OpenRaw(1 << 20)
	if err != nil {
		b.Skip(err)
	}
	defer raw.Close()
	own, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{SendBuffer: 1 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer own.Close()
	client, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{ReceiveBuffer: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	const size = 64
	to, d, q, s := NewRoute(client.Local()), make([]byte, 60), NewQueue(size), raw.NewSender(own.Local(), size)
	q.DontFragment = true
	fill := func() {
		for range size {
			q.Add(d, &to)
		}
	}
	var byOwn, byRaw time.Duration
	for b.Loop() {
		fill()
		start := time.Now()
		_, _ = own.Send(q)
		between := time.Now()
		fill()
		byOwn += between.Sub(start)
		start = time.Now()
		_, _ = s.Send(q)
		byRaw += time.Since(start)
	}
	b.ReportMetric(float64(byOwn.Nanoseconds())/float64(b.N*size), "own-ns")
	b.ReportMetric(float64(byRaw.Nanoseconds())/float64(b.N*size), "raw-ns")
	b.ReportMetric(0, "ns/op")
}
