package udpbatch

import (
	"net/netip"
	"testing"
)

// A datagram has the source that its route says, and the answer to it finds the way back there.
func TestRouteFrom(t *testing.T) {
	listen := func(addr string) *Conn {
		c, err := Listen(netip.MustParseAddrPort(addr), Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	server, client := listen("127.0.0.1:0"), listen("0.0.0.0:0")
	poller, err := NewPoller(1)
	if err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	b, err := NewBatch(1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	receive := func(c *Conn) *Route {
		t.Helper()
		if err := poller.Add(c.FD(), Event{}); err != nil {
			t.Fatal(err)
		}
		defer poller.Remove(c.FD())
		if n, _, err := poller.Wait(5000); n != 1 || err != nil {
			t.Fatalf("nothing arrived on %v: %v", c.Local(), err)
		}
		b.Reset()
		if n, err := c.Recv(b); n != 1 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		return b.Route(0)
	}
	send := func(c *Conn, r *Route) {
		t.Helper()
		q := NewQueue(1)
		q.Add([]byte("x"), r)
		if n, err := c.Send(q); n != 1 || err != nil {
			t.Fatalf("sent %d, %v", n, err)
		}
	}
	source := netip.MustParseAddr("127.11.22.33")
	r := NewRoute(server.Local())
	if r.Peer().AddrPort() != server.Local() {
		t.Errorf("a route to %v leads to %v", server.Local(), r.Peer())
	}
	r.From(source.As16())
	send(client, &r)
	back := receive(server)
	if got, want := back.Peer().AddrPort(), netip.AddrPortFrom(source, client.Local().Port()); got != want {
		t.Errorf("arrived from %v, want %v", got, want)
	}
	if _, ok := back.Local(); ok {
		t.Error("a socket bound to an address says where a datagram was sent to")
	}
	send(server, back)
	answer := receive(client)
	if local, ok := answer.Local(); !ok || netip.AddrFrom16(local).Unmap() != source {
		t.Errorf("the answer went to %v, %v, want %v", local, ok, source)
	}
}

// A route to an IPv4 peer works on sockets of both families, after a handover, too, and says the same of the peer.
func TestRoutesToIPv4FitBothFamilies(t *testing.T) {
	client := listenOn(t, "127.0.0.1:0")
	in := newBatch(t, 1)
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::ffff:127.0.0.1]:0"} {
		server, b := listenOn(t, at), newBatch(t, 1)
		asked := NewRoute(netip.AddrPortFrom(client.Local().Addr(), server.Local().Port()))
		q := NewQueue(1)
		q.Add([]byte("question"), &asked)
		if n, err := client.Send(q); n != 1 || err != nil {
			t.Fatal(at, n, err)
		}
		await(t, server, b, 1)
		if got := b.Route(0).Peer(); got.AddrPort() != client.Local() || got.IP != client.Local().Addr().As16() {
			t.Errorf("%s: a datagram from %v came from %+v", at, client.Local(), got)
		}
		record := b.Route(0).Record()
		kept := RouteOf(&record)
		if kept.Peer() != b.Route(0).Peer() {
			t.Errorf("%s: handed over as %+v, not %+v", at, kept.Peer(), b.Route(0).Peer())
		}
		for name, to := range map[string]*Route{"received": b.Route(0), "handed over": &kept} {
			q.Add([]byte(name), to)
			if n, err := server.Send(q); n != 1 || err != nil {
				t.Fatal(at, name, n, err)
			}
			in.Reset()
			await(t, client, in, 1)
			if string(in.Datagram(0)) != name || in.Route(0).Peer().Port != server.Local().Port() {
				t.Errorf("%s, %s: %q from %v", at, name, in.Datagram(0), in.Route(0).Peer())
			}
		}
	}
}
