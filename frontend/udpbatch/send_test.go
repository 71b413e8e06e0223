package udpbatch

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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

// One datagram that cannot be sent costs the others nothing.
func TestSendSkipsWhatCannotBeSent(t *testing.T) {
	server, client := listenOn(t, "127.0.0.1:0"), listenOn(t, "127.0.0.1:0")
	b, q := newBatch(t, 8), NewQueue(8)
	good, bad := NewRoute(server.Local()), NewRoute(netip.AddrPortFrom(server.Local().Addr(), 0)) // EINVAL
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
	within(t, "no refusal is reported", func() bool {
		q.Add([]byte("x"), nil)
		if _, err = client.Send(q); err == nil {
			_, err = client.Recv(b)
		}
		return err != nil
	})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("error %v, want ECONNREFUSED", err)
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
	server, client := pair(t, Options{})
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
