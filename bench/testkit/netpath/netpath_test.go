package netpath

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
)

// lab is a path to an echo server, and a client's socket.
type lab struct {
	*Path
	client *net.UDPConn
	froms  chan netip.AddrPort // the addresses that the server answered
}

func start(t *testing.T, host string, decide func(d *Datagram) Fate) *lab {
	t.Helper()
	server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{froms: make(chan netip.AddrPort, 1000)}
	go func() {
		defer close(l.froms)
		b := make([]byte, largest)
		for {
			n, from, err := server.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			l.froms <- from
			_, _ = server.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	if l.Path, err = Start(server.LocalAddr().(*net.UDPAddr).AddrPort(), decide); err != nil {
		t.Fatal(err)
	}
	if l.client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(l.Addr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.client.Close()
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// send sends numbered datagrams of a size.
func (l *lab) send(t *testing.T, size int, numbers ...byte) {
	t.Helper()
	for _, n := range numbers {
		d := make([]byte, size)
		d[0] = n
		if _, err := l.client.Write(d); err != nil {
			t.Fatal(err)
		}
	}
}

// receive returns the numbers of the next n datagrams.
func (l *lab) receive(t *testing.T, n int) (numbers []byte) {
	t.Helper()
	_ = l.client.SetReadDeadline(time.Now().Add(await.Patience))
	b := make([]byte, largest)
	for range n {
		if _, err := l.client.Read(b); err != nil {
			t.Fatalf("%v after %v", err, numbers)
		}
		numbers = append(numbers, b[0])
	}
	return numbers
}

func TestFates(t *testing.T) {
	l := start(t, "127.0.0.1", func(d *Datagram) Fate {
		if d.FromClient {
			return []Fate{Pass, Drop, Twice, {10 * time.Millisecond}}[d.Nth]
		}
		return Pass
	})
	l.send(t, 100, 0, 1, 2, 3)
	if got := l.receive(t, 4); !slices.Equal(got, []byte{0, 2, 2, 3}) {
		t.Errorf("received %v", got)
	}
	if n := len(l.Seen(func(d *Datagram) bool { return d.FromClient })); n != 4 {
		t.Errorf("%d datagrams were seen, want 4", n)
	}
}

// TestOrder: datagrams of the same delay do not overtake each other, and those with a longer one are overtaken.
func TestOrder(t *testing.T) {
	l := start(t, "127.0.0.1", func(d *Datagram) Fate {
		if d.Nth == 0 && d.FromClient {
			return Fate{500 * time.Millisecond}
		}
		return Fate{5 * time.Millisecond}
	})
	want := make([]byte, 200)
	for i := range want {
		want[i] = byte(i)
	}
	l.send(t, 1, want...)
	if got := l.receive(t, len(want)); !slices.Equal(got, append(want[1:], want[0])) {
		t.Errorf("received in the order %v", got)
	}
}

func TestMTU(t *testing.T) {
	for host, headers := range map[string]int{"127.0.0.1": headers4, "::1": headers6} {
		l := start(t, host, (&Conditions{MTU: 1400}).Decide)
		l.send(t, 1401-headers, 1)
		l.send(t, 1400-headers, 2)
		if got := l.receive(t, 1); got[0] != 2 {
			t.Errorf("%s: received %v, want what fits alone", host, got)
		}
	}
}

func TestRebind(t *testing.T) {
	l := start(t, "127.0.0.1", func(d *Datagram) Fate {
		d.Rebind = d.FromClient && d.Nth == 1
		return Pass
	})
	for n := range byte(3) {
		l.send(t, 1, n)
		l.receive(t, 1)
	}
	if one, two, three := <-l.froms, <-l.froms, <-l.froms; one == two || two != three {
		t.Errorf("datagrams came from %v, %v, %v", one, two, three)
	}
}

// TestStartFrom: what clients send comes from the chosen address.
func TestStartFrom(t *testing.T) {
	server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	want := netip.MustParseAddr("127.9.0.1")
	p, err := StartFrom(want, server.LocalAddr().(*net.UDPAddr).AddrPort(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(time.Now().Add(await.Patience))
	if _, from, err := server.ReadFromUDPAddrPort(make([]byte, 1)); err != nil || from.Addr() != want {
		t.Errorf("from %v, %v, want %v", from, err, want)
	}
}

// TestConditions: fates depend only on the seed, the client and the datagrams' numbers, and are as frequent as configured.
func TestConditions(t *testing.T) {
	const n = 10_000
	fates := func(c Conditions, client int) (lost, twice, late int, all []byte) {
		for i := range n {
			f := c.Decide(&Datagram{Ordinal: client, Nth: i, FromClient: i%2 == 0})
			switch {
			case len(f) == 0:
				lost++
			case len(f) == 2:
				twice++
			case f[0] > c.Delay:
				late++
			}
			all = append(all, byte(len(f)))
		}
		return lost, twice, late, all
	}
	c := Conditions{Seed: 1, Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, Delay: time.Second}
	lost, twice, late, one := fates(c, 0)
	for what, share := range map[string][2]float64{
		"lost": {float64(lost) / n, 0.2}, "twice": {float64(twice) / n, 0.8 * 0.1}, "late": {float64(late) / n, 0.8 * 0.9 * 0.1},
	} {
		if share[0] < share[1]*0.9 || share[0] > share[1]*1.1 {
			t.Errorf("%s: %.3f of datagrams, want %.3f", what, share[0], share[1])
		}
	}
	if _, _, _, again := fates(c, 0); !bytes.Equal(one, again) {
		t.Error("the same seed gives other fates")
	}
	if _, _, _, other := fates(c, 1); bytes.Equal(one, other) {
		t.Error("another client has the same fates")
	}
	c.Seed = 2
	if _, _, _, other := fates(c, 0); bytes.Equal(one, other) {
		t.Error("another seed gives the same fates")
	}
}
