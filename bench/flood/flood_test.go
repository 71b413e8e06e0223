package flood

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

var anywhere = netip.MustParseAddrPort("127.0.0.1:4433")

func TestDatagrams(t *testing.T) {
	random := rand.NewPCG(1, 2)
	seen := make(map[[32]byte]bool)
	for k := range kindLen {
		s := newSlot(k, anywhere)
		for range 100 {
			s.refresh(random, 3)
			var h hello.ClientHello
			r := hello.Parse(s.d, &h)
			if (k != Junk) != (r == hello.OK) {
				t.Fatalf("kind %d: the guard takes %x for %v", k, s.d, r)
			}
			if !bytes.Contains(s.d, []byte(Marker)) {
				t.Fatalf("kind %d: no marker in %x", k, s.d)
			}
			if k == Junk {
				continue
			}
			if cookie := map[Kind]int{WrongCookie: wrongCookie}[k]; len(h.Cookie) != cookie {
				t.Errorf("kind %d: cookie of %d bytes, want %d", k, len(h.Cookie), cookie)
			}
			if seen[*h.Random] {
				t.Error("a random was used twice")
			}
			seen[*h.Random] = true
			local, ok := s.route.Local()
			if a := netip.AddrFrom16(local).Unmap(); !ok || !a.IsLoopback() || !a.Is4() || a.As4()[1] == 0 || a.As4()[1] == 255 {
				t.Errorf("source %v is not of 127.0.0.0/8, or is one that cannot be used", a)
			}
		}
	}
}

// An answer of the guard is right, and none that differs from it in any byte before the cookie is.
func TestRight(t *testing.T) {
	const key = 7
	lengths := [2]int{1000, 1000}
	for _, k := range []Kind{FirstHello, WrongCookie} {
		s := newSlot(k, anywhere)
		s.refresh(rand.NewPCG(1, 2), key)
		local, _ := s.route.Local()
		ip := binary.BigEndian.Uint32(local[12:])
		d := s.d[:hello.PutHelloVerify(s.d, make([]byte, 20))]
		if !right(d, ip, key, &lengths) {
			t.Fatalf("kind %d: the answer %x counts as wrong", k, d)
		}
		for i := range len(d) - 20 {
			d[i] ^= 1
			if right(d, ip, key, &lengths) {
				t.Errorf("kind %d: an answer with byte %d changed counts as right", k, i)
			}
			d[i] ^= 1
		}
		if right(d, ip+1, key, &lengths) || right(d, ip, key+1, &lengths) || right(d[:len(d)-1], ip, key, &lengths) || right(nil, ip, key, &lengths) {
			t.Errorf("kind %d: an answer for another address, of another flood, or cut short, counts as right", k)
		}
		if right(d, ip, key, &[2]int{len(d) - 1, len(d) - 1}) {
			t.Errorf("kind %d: an answer longer than its question counts as right", k)
		}
	}
}

// listen opens a socket to be flooded.
func listen(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// The flood meets a guard that spoils every third answer.
func TestRun(t *testing.T) {
	c, addr := listen(t)
	type outcome struct {
		hellos, junk, spoiled uint64
		sources               map[netip.Addr]bool
		ports                 map[uint16]bool
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{sources: make(map[netip.Addr]bool), ports: make(map[uint16]bool)}
		for b := make([]byte, 2000); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				done <- o
				return
			}
			o.sources[from.Addr()], o.ports[from.Port()] = true, true
			var h hello.ClientHello
			if hello.Parse(b[:n], &h) != hello.OK {
				o.junk++
				continue
			}
			n = hello.PutHelloVerify(b[:n], make([]byte, 32))
			if o.hellos++; o.hellos%3 == 0 {
				o.spoiled++
				b[rseqAt+5] ^= 1
			}
			_, _ = c.WriteToUDPAddrPort(b[:n], from)
		}
	}()
	// All of it fits the listener's socket buffer, so nothing is lost however busy the machine is.
	const rate, length = 500, 300 * time.Millisecond
	f, err := New(Config{Target: addr, Rate: rate, Kinds: []Kind{FirstHello, WrongCookie, Junk}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), length)
	defer cancel()
	f.Run(ctx)
	c.Close()
	o, got := <-done, f.Counts()
	if got.Sent == 0 || got.Sent > uint64(rate*got.Elapsed.Seconds())+1 {
		t.Errorf("sent %d in %v, want up to %d a second", got.Sent, got.Elapsed, rate)
	}
	if o.hellos+o.junk != got.Sent || o.junk != got.Sent/3 {
		t.Errorf("%d sent, %d ClientHellos and %d others arrived", got.Sent, o.hellos, o.junk)
	}
	if got.Wrong != o.spoiled || got.Right != o.hellos-o.spoiled {
		t.Errorf("%d answers right and %d wrong, want %d and %d", got.Right, got.Wrong, o.hellos-o.spoiled, o.spoiled)
	}
	if len(o.ports) != DefaultPorts || len(o.sources) < int(got.Sent)*9/10 {
		t.Errorf("%d datagrams came from %d addresses and %d ports", got.Sent, len(o.sources), len(o.ports))
	}
}

func TestTargetElsewhere(t *testing.T) {
	for _, a := range []string{"192.0.2.1:4433", "[::1]:4433", "127.0.0.1:0", "0.0.0.0:4433"} {
		if f, err := New(Config{Target: netip.MustParseAddrPort(a)}); err == nil {
			f.Close()
			t.Errorf("a flood of %s was accepted", a)
		}
	}
}
