package tap

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/sockets"
	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
)

// echo is a server that answers each datagram with the address it saw.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, maxDatagram)
		for {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort([]byte(from.String()), from)
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func open(t *testing.T, server netip.AddrPort, marker string) *Tap {
	t.Helper()
	tap, err := Listen(server, []byte(marker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return tap
}

func dial(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// say sends d and returns the answer.
func say(t *testing.T, c *net.UDPConn, d []byte) string {
	t.Helper()
	if _, err := c.Write(d); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(await.Patience))
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestPortsStayApart(t *testing.T) {
	tap := open(t, echo(t), "")
	a, b := dial(t, tap.Addr()), dial(t, tap.Addr())
	first, second := say(t, a, []byte("a")), say(t, b, []byte("b"))
	if first == second {
		t.Errorf("the server saw two senders as one, %s", first)
	}
	if again := say(t, a, []byte("a")); again != first {
		t.Errorf("the server saw one sender as %s and then as %s", first, again)
	}
}

func TestKinds(t *testing.T) {
	record := func(kind, epoch byte, body ...byte) []byte {
		return append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, 0, byte(len(body))}, body...)
	}
	cookie := hellotest.New()
	cookie.Cookie, cookie.SessionID = make([]byte, 20), make([]byte, 32)
	marked := hellotest.New()
	marked.SessionID = []byte("the marker")
	cases := []struct {
		name   string
		d      []byte
		want   Kind
		marked bool
	}{
		{"captured ClientHello", hellotest.Captured()[0].Datagram, FirstHello, false},
		{"marked ClientHello", marked.Bytes(), FirstHello, true},
		{"ClientHello with session id and cookie", cookie.Bytes(), CookieHello, false},
		{"ClientHello cut off", hellotest.New().Bytes()[:40], FirstHello, false},
		{"ClientKeyExchange", record(22, 0, 16, 0, 0), Handshake, false},
		{"Finished, encrypted", record(22, 1, 1, 2, 3), Handshake, false},
		{"ChangeCipherSpec", record(20, 0, 1), ChangeCipherSpec, false},
		{"alert", record(21, 1, 1, 0), Alert, false},
		{"application data", record(23, 1, 7), ApplicationData, false},
		{"STUN", []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, Other, false},
		{"nothing", nil, Other, false},
		{"junk with the marker", []byte("xx the marker"), Other, true},
	}
	tap := open(t, echo(t), "the marker")
	c := dial(t, tap.Addr())
	var want Counts
	for _, tc := range cases {
		say(t, c, tc.d)
		want.Kinds[tc.want]++
		if tc.marked {
			want.Marked++
		}
		if got := tap.Counts(); got != want {
			t.Errorf("%s: counts %v, want %v", tc.name, got, want)
			want = got
		}
	}
	if tap.Counts().Total() != uint64(len(cases)) {
		t.Errorf("%d datagrams sent, %d counted", len(cases), tap.Counts().Total())
	}
}

// A restarted server must receive the first datagram after its restart.
func TestServerComesBack(t *testing.T) {
	addr := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(await.FreePort(t))}
	tap := open(t, addr.AddrPort(), "")
	c := dial(t, tap.Addr())
	if _, err := c.Write([]byte("to a closed port")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(await.Patience); tap.Counts().Total() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a datagram to a closed port is not counted")
		}
	}
	server, err := net.ListenUDP("udp4", addr)
	if err != nil {
		t.Skipf("another program took the port: %v", err)
	}
	defer server.Close()
	if _, err := c.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	_ = server.SetReadDeadline(time.Now().Add(await.Patience))
	if n, err := server.Read(b); err != nil || string(b[:n]) != "back" {
		t.Errorf("the restarted server got %q, %v", b[:n], err)
	}
}

// Datagrams of a flood that reach the server are counted.
func TestFloodIsMarked(t *testing.T) {
	tap := open(t, echo(t), sockets.Marker)
	second, err := traffic.WithCookie(sockets.Marked()[0].Templates[0].Bytes, make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	f, err := sockets.New(sockets.Config{
		Flow: traffic.Flow{Destination: tap.Addr()}, Pace: traffic.Pace{Rate: 500, Limit: 100},
		Mix: append(sockets.Marked(), traffic.Item{Name: "second", Weight: 1, Templates: []traffic.Template{second}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), await.Patience)
	defer cancel()
	if err := f.Run(ctx); err != nil {
		t.Fatal(err)
	}
	sent, c := f.Counts().Sent, tap.Counts()
	for end := time.Now().Add(await.Patience); c.Total() < sent && time.Now().Before(end); c = tap.Counts() {
		time.Sleep(time.Millisecond)
	}
	if sent == 0 || c.Marked != sent || c.Kinds[FirstHello]+c.Kinds[CookieHello] != sent || c.Kinds[CookieHello] == 0 {
		t.Errorf("%d datagrams sent, the tap counted %+v", sent, c)
	}
}

func TestCloseEndsAll(t *testing.T) {
	tap := open(t, echo(t), "")
	c := dial(t, tap.Addr())
	say(t, c, []byte("x"))
	done := make(chan struct{})
	go func() { tap.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(await.Patience):
		t.Fatal("Close does not return")
	}
}
