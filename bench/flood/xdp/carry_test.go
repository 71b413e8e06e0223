package xdp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/flood/traffic"
	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

// The generator carries what a socket sends to the flood's destination, unchanged. It carries nothing to other
// destinations, and nothing while there is no flood.
func TestCarry(t *testing.T) {
	l, err := lab.New("carry")
	refused(t, err)
	t.Cleanup(func() { refused(t, l.Close()) })
	refused(t, l.Client.Do(func() error { return carry(t) }))
}

func carry(t *testing.T) error {
	f := flows["IPv4"]
	var err error
	if f.Interface, err = net.InterfaceByName(lab.ToMiddle); err != nil {
		return err
	}
	f.Destination = netip.AddrPortFrom(lab.Middle4, 4433)
	tp := must(t)(FirstHello(hellotest.New().Bytes()))
	g, err := NewMix(f, traffic.Single(tp), Options{Carry: true})
	if err != nil {
		return err
	}
	defer g.Close()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: lab.Client4.AsSlice()})
	if err != nil {
		return err
	}
	defer c.Close()
	send := func(port uint16, text string) {
		if _, err := c.WriteToUDPAddrPort([]byte(text), netip.AddrPortFrom(lab.Middle4, port)); err != nil {
			t.Fatal(err)
		}
	}
	given := func() (n uint64) {
		if err := g.objects.Given.Get(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := errors.Join(g.objects.Running.Set(uint32(1)), g.objects.Path.Set(uint32(1))); err != nil {
		return err
	}
	texts := []string{"first", "second, and longer than a ClientHello: " + strings.Repeat("x", 1000)}
	for _, text := range texts {
		send(4433, text)
	}
	// The kernel queues them until it knows the destination's hardware address.
	for end := time.Now().Add(await.Patience); given() < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d of 2 datagrams given to the generator", given())
		}
	}
	for _, text := range texts {
		frame, err := g.Frame()
		if err != nil {
			return err
		}
		if p := frame[f.Layout().PayloadAt():]; !bytes.HasPrefix(p, []byte(text)) {
			t.Errorf("carried %q, want %q", p, text)
		}
	}
	send(4434, "elsewhere")
	if err := g.objects.Running.Set(uint32(0)); err != nil {
		return err
	}
	send(4433, "when there is no flood")
	frame, err := g.Frame()
	if err != nil {
		return err
	}
	if n := given(); n != 2 || frame[f.Layout().PayloadAt()] != 22 {
		t.Errorf("%d datagrams collected, want 2, and then %x, want a handshake record", n, frame)
	}
	return nil
}
