package udpbatch

import (
	"bytes"
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

// pair opens a socket with options on loopback, and one that is connected to it.
func pair(t *testing.T, o Options) (server, client *Conn) {
	t.Helper()
	server, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if client, err = Dial(server.Local()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return server, client
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

// within repeats f until it returns true: loopback mostly delivers within a send, but not while the CPU has more to receive.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// A socket that was alone on its port opens a group there, and gets its share of the clients.
func TestShare(t *testing.T) {
	first := listenOn(t, "127.0.0.1:0")
	shared := Options{ReusePort: true}
	if c, err := Listen(first.Local(), shared); !errors.Is(err, unix.EADDRINUSE) {
		c.Close()
		t.Fatalf("a second socket next to one that is alone: %v", err)
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
	a, b := newBatch(t, clients), newBatch(t, clients)
	within(t, "not all datagrams come", func() bool {
		_, one := first.Recv(a)
		_, two := second.Recv(b)
		if err := errors.Join(one, two); err != nil {
			t.Fatal(err)
		}
		return a.Len()+b.Len() == clients
	})
	if a.Len() == 0 || b.Len() == 0 { // by chance, once in 2^63
		t.Errorf("one socket gets %d datagrams, the other %d", a.Len(), b.Len())
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
	for _, size := range []int{0, 1, 1500, headSize, headSize + 1, 65507} {
		d := bytes.Repeat([]byte("datagram"), size/8+1)[:size]
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

func TestOverrunsAreCounted(t *testing.T) {
	server, client := pair(t, Options{ReceiveBuffer: 1})
	q, b := NewQueue(64), newBatch(t, 64)
	for range 64 {
		q.Add(make([]byte, 1000), nil)
	}
	if _, err := client.Send(q); err != nil {
		t.Fatal(err)
	}
	within(t, "no overrun is counted", func() bool { return server.Overruns() > 0 }) // before the buffer is read
	within(t, "not all are received or counted", func() bool {
		if _, err := server.Recv(b); err != nil {
			t.Fatal(err)
		}
		return b.Len()+int(server.Overruns()) == 64
	})
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
	to := NewRoute(server.Local())
	d := make([]byte, 100)
	const patience = 1 << 20 // receives
	if n := testing.AllocsPerRun(50, func() {
		for range 16 {
			q.Add(d, &to)
		}
		client.Send(q)
		b.Reset()
		for range patience {
			if server.Recv(b); b.Len() == 16 {
				break
			}
		}
		for i := range b.Len() {
			q.Add(b.Datagram(i), b.Route(i))
		}
		server.Send(q)
		back.Reset()
		for range patience {
			if client.Recv(back); back.Len() == 16 {
				break
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per batch", n)
	}
	if back.Len() != 16 {
		t.Errorf("%d of 16 came back", back.Len())
	}
}
