package udpbatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

func listenOn(t *testing.T, addr string) *Conn {
	t.Helper()
	c, err := Listen(netip.MustParseAddrPort(addr), Options{ReceiveBuffer: 1 << 20, SendBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newBatch(t *testing.T, size int) *Batch {
	t.Helper()
	b, err := NewBatch(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// await receives until b holds n datagrams.
func await(t *testing.T, c *Conn, b *Batch, n int) {
	t.Helper()
	p, err := NewPoller(4)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Add(c.FD(), Event{A: 1}); err != nil {
		t.Fatal(err)
	}
	for b.Len() < n {
		if events, _, err := p.Wait(5000); err != nil || events == 0 {
			t.Fatalf("%d of %d datagrams came (%v)", b.Len(), n, err)
		}
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
	}
}

// A socket that was alone on its port opens a group there, and gets its share of the clients.
func TestShare(t *testing.T) {
	first := listenOn(t, "127.0.0.1:0")
	shared := Options{ReusePort: true}
	if c, err := Listen(first.Local(), shared); !errors.Is(err, unix.EADDRINUSE) {
		c.Close()
		t.Fatalf("a second socket beside one that is alone: %v", err)
	}
	if err := first.Share(); err != nil {
		t.Fatal(err)
	}
	second, err := Listen(first.Local(), shared)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	const clients = 64
	for range clients {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(first.Local()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for i, c := range []*Conn{first, second} { // on loopback what was sent has come
		b := newBatch(t, clients)
		if _, err := c.Recv(b); err != nil {
			t.Fatal(err)
		}
		if total += b.Len(); b.Len() == 0 { // by chance, once in 2^63
			t.Errorf("socket %d gets nothing", i)
		}
	}
	if total != clients {
		t.Errorf("%d datagrams of %d", total, clients)
	}
}

// An answer must come from the address that was asked, whichever of a wildcard's it was, IPv4 and IPv6 alike.
func TestAnswersComeFromTheAddressAsked(t *testing.T) {
	for _, c := range []struct{ listen, ask string }{
		{"[::]:0", "127.0.0.1"}, {"[::]:0", "127.8.9.10"}, {"[::]:0", "::1"},
		{"0.0.0.0:0", "127.0.0.77"}, {"127.0.0.5:0", "127.0.0.5"}, {"[::1]:0", "::1"},
	} {
		t.Run(c.listen+" "+c.ask, func(t *testing.T) {
			server, b, q := listenOn(t, c.listen), newBatch(t, 8), NewQueue(8)
			at := netip.AddrPortFrom(netip.MustParseAddr(c.ask), server.Local().Port())
			client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)) // connected: hears no other address
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Write([]byte("question")); err != nil {
				t.Fatal(err)
			}
			await(t, server, b, 1)
			if got, want := b.Route(0).Peer().AddrPort(), client.LocalAddr().(*net.UDPAddr).AddrPort(); got.Port() != want.Port() || got.Addr() != want.Addr().Unmap() {
				t.Errorf("peer %v, want %v", got, want)
			}
			q.Add(b.Datagram(0)[:5], b.Route(0))
			if n, err := server.Send(q); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			client.SetReadDeadline(time.Now().Add(5 * time.Second))
			answer := make([]byte, 100)
			n, err := client.Read(answer)
			if err != nil || string(answer[:n]) != "quest" {
				t.Fatalf("answer %q, %v", answer[:n], err)
			}
		})
	}
}

func TestDatagramsOfEverySize(t *testing.T) {
	server, b := listenOn(t, "127.0.0.1:0"), newBatch(t, 4)
	client, err := Dial(server.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	q := NewQueue(4)
	for _, size := range []int{0, 1, 1500, 65507} {
		d := bytes.Repeat([]byte{byte(size)}, size)
		q.Add(d, nil)
		if n, err := client.Send(q); n != 1 || err != nil {
			t.Fatal(size, n, err)
		}
		b.Reset()
		await(t, server, b, 1)
		if !bytes.Equal(b.Datagram(0), d) {
			t.Errorf("%d bytes came as %d", size, len(b.Datagram(0)))
		}
	}
}

// Receives append to a batch, and one that is full takes no more.
func TestBatchFillsUp(t *testing.T) {
	server, b := listenOn(t, "127.0.0.1:0"), newBatch(t, 3)
	client, err := Dial(server.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	q := NewQueue(5)
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		q.Add([]byte(s), nil)
	}
	if n, err := client.Send(q); n != 5 || err != nil {
		t.Fatal(n, err)
	}
	await(t, server, b, 3)
	if n, err := server.Recv(b); n != 0 || err != nil {
		t.Errorf("full batch took %d, %v", n, err)
	}
	b.Reset()
	await(t, server, b, 2)
	if got := string(b.Datagram(0)) + string(b.Datagram(1)); got != "de" {
		t.Errorf("second batch %q", got)
	}
	b.Reset()
	if n, err := server.Recv(b); n != 0 || err != nil {
		t.Errorf("empty socket gave %d, %v", n, err)
	}
}

// One datagram that cannot be sent costs the others nothing.
func TestSendSkipsWhatCannotBeSent(t *testing.T) {
	server, client := listenOn(t, "127.0.0.1:0"), listenOn(t, "127.0.0.1:0")
	b, q := newBatch(t, 8), NewQueue(8)
	var good, bad Route
	to := server.Local()
	good.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(to.Port()), Addr: to.Addr().As16()}
	bad = good
	bad.name.Port = 0 // EINVAL
	for i, r := range []*Route{&bad, &good, &bad, &good, &good, &bad} {
		q.Add([]byte{byte(i)}, r)
	}
	n, err := client.Send(q)
	if n != 3 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("sent %d, %v; want 3 and EINVAL", n, err)
	}
	await(t, server, b, 3)
	for i, want := range []byte{1, 3, 4} {
		if b.Datagram(i)[0] != want {
			t.Errorf("datagram %d is %d, want %d", i, b.Datagram(i)[0], want)
		}
	}
}

func TestRefusalIsReported(t *testing.T) {
	server := listenOn(t, "127.0.0.1:0")
	client, err := Dial(server.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server.Close()
	q, b := NewQueue(1), newBatch(t, 1)
	for range 2 { // loopback reports the first at once; the second call sees it at the latest
		q.Add([]byte("x"), nil)
		if _, err = client.Send(q); err == nil {
			_, err = client.Recv(b)
		}
		if err != nil {
			break
		}
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("error %v, want ECONNREFUSED", err)
	}
}

func TestOverrunsAreCounted(t *testing.T) {
	server, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{ReceiveBuffer: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := Dial(server.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	q, b := NewQueue(64), newBatch(t, 64)
	for range 64 {
		q.Add(make([]byte, 1000), nil)
	}
	if _, err := client.Send(q); err != nil {
		t.Fatal(err)
	}
	got, err := server.Recv(b)
	if err != nil || got == 64 {
		t.Fatalf("received %d of 64 into the smallest buffer: %v", got, err)
	}
	if n := server.Overruns(); int(n) != 64-got {
		t.Errorf("%d overruns, want %d", n, 64-got)
	}
}

// What a raw socket sees of two datagrams of each kind.
func TestDontFragment(t *testing.T) {
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if errors.Is(err, unix.EPERM) {
		t.Skip("a raw socket needs CAP_NET_RAW")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	// Not connected: a connected socket numbers its datagrams by itself.
	server, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := Dial(server.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	q, b := NewQueue(2), newBatch(t, 2)
	q.Add([]byte("where to"), nil)
	if _, err := client.Send(q); err != nil {
		t.Fatal(err)
	}
	await(t, server, b, 1)
	// sent returns fragment fields and the sum of the identifications.
	sent := func() (flags [2]uint16, ids int) {
		for range flags {
			q.Add([]byte("an answer"), b.Route(0))
		}
		if n, err := server.Send(q); n != len(flags) || err != nil {
			t.Fatalf("sent %d: %v", n, err)
		}
		packet := make([]byte, 128)
		for i := 0; i < len(flags); {
			n, err := unix.Read(raw, packet)
			if err != nil {
				t.Fatal(err)
			}
			if n < 28 || binary.BigEndian.Uint16(packet[20:]) != server.Local().Port() {
				continue // somebody else's, or the question
			}
			flags[i] = binary.BigEndian.Uint16(packet[6:])
			ids += int(binary.BigEndian.Uint16(packet[4:]))
			i++
		}
		return flags, ids
	}
	const df = 0x4000
	q.DontFragment = true
	if flags, ids := sent(); flags != [2]uint16{df, df} || ids != 0 {
		t.Errorf("whole: fragment fields %x, identifications %d together; want DF and none", flags, ids)
	}
	q.DontFragment = false
	if _, ids := sent(); ids == 0 { // both by chance: one in 2^32
		t.Error("may be fragmented, but has no identification")
	}
}

func TestErrorsSayHowToFixThem(t *testing.T) {
	taken := listenOn(t, "127.0.0.1:0")
	for addr, want := range map[string]string{
		taken.Local().String(): "ss -lunp",
		"192.0.2.1:1":          "no interface of this host",
	} {
		c, err := Listen(netip.MustParseAddrPort(addr), Options{})
		if err == nil {
			c.Close()
			t.Errorf("%s: no error", addr)
		} else if !strings.Contains(err.Error()+hint.Of(err), want) {
			t.Errorf("%s: %v, want a hint at %q", addr, err, want)
		}
	}
}

// An address that no interface has is bound only if it may come later, in either family.
func TestFreeBind(t *testing.T) {
	for _, a := range []string{"198.51.100.7:0", "[2001:db8::7]:0"} {
		addr := netip.MustParseAddrPort(a)
		if c, err := Listen(addr, Options{}); err == nil {
			c.Close()
			t.Errorf("%v is bound although no interface has it", addr)
		} else if !strings.Contains(hint.Of(err), "setting freebind") {
			t.Errorf("%v: %v does not name setting freebind", addr, err)
		}
		c, err := Listen(addr, Options{FreeBind: true})
		if err != nil {
			t.Errorf("%v is not bound: %v", addr, err)
			continue
		}
		c.Close()
	}
}

func TestWakeEndsWait(t *testing.T) {
	p, err := NewPoller(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	go p.Wake()
	if n, woken, err := p.Wait(-1); n != 0 || !woken || err != nil {
		t.Errorf("%d events, woken %v, %v", n, woken, err)
	}
	if n, woken, err := p.Wait(0); n != 0 || woken || err != nil {
		t.Errorf("woken twice by one Wake: %d, %v, %v", n, woken, err)
	}
}

func TestBatchesDoNotAllocate(t *testing.T) {
	server, client := listenOn(t, "127.0.0.1:0"), listenOn(t, "127.0.0.1:0")
	b, q, back := newBatch(t, 16), NewQueue(16), newBatch(t, 16)
	var to Route
	to.name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: ntohs(server.Local().Port()), Addr: server.Local().Addr().As16()}
	d := make([]byte, 100)
	if n := testing.AllocsPerRun(50, func() {
		for range 16 {
			q.Add(d, &to)
		}
		client.Send(q)
		b.Reset()
		server.Recv(b) // loopback delivers within Send
		for i := range b.Len() {
			q.Add(b.Datagram(i), b.Route(i))
		}
		server.Send(q)
		back.Reset()
		client.Recv(back)
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
	if back.Len() != 16 {
		t.Errorf("%d of 16 came back", back.Len())
	}
}
