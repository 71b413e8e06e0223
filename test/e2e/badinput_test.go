package e2e

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// backends are servers for the modes that differ here.
var backends = map[string]cookies{"harvest": byAddress, "trust": anyCookie}

// moved returns which counters differ between two snapshots, and by how much.
func moved(before, after *metrics.Totals) map[metrics.Event]uint64 {
	m := make(map[metrics.Event]uint64)
	for e := range after.Events {
		if n := after.Events[e] - before.Events[e]; n != 0 {
			m[metrics.Event(e)] = n
		}
	}
	return m
}

// moves sends d and checks that it is one datagram of exactly the given outcomes.
func moves(t *testing.T, g *guard, r *raw, d []byte, outcomes ...metrics.Event) {
	t.Helper()
	want := make(map[metrics.Event]uint64)
	for _, e := range outcomes {
		want[e]++
	}
	before := g.Totals()
	r.send(d)
	var got map[metrics.Event]uint64
	eventually(t, "the datagram is counted", func() bool {
		after := g.Totals()
		got = moved(before, after)
		// The stages are published one after the other.
		return after.Received > before.Received && len(got) >= len(want)
	})
	if !maps.Equal(got, want) {
		t.Errorf("counters moved: %v, want %v", named(got), named(want))
	}
}

func named(m map[metrics.Event]uint64) map[metrics.Label]uint64 {
	n := make(map[metrics.Label]uint64)
	for e, v := range m {
		n[metrics.Labels[e]] = v
	}
	return n
}

// TestCounters: each kind of datagram moves its own counter, once, and no other of its stage.
func TestCounters(t *testing.T) {
	t.Parallel()
	for mode, cookies := range backends {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := startBackend(t, anyPort, cookies)
			g := startGuard(t, s.addr())
			r := dialRaw(t, anyPort, g.addr)
			for _, c := range append(hellotest.Cases(), hellotest.Captured()...) {
				t.Run(c.Name, func(t *testing.T) {
					if c.Want != hello.OK {
						moves(t, g, r, c.Datagram, metrics.Dropped(c.Want))
						return
					}
					var h hello.ClientHello
					hello.Parse(c.Datagram, &h)
					answered := metrics.Answered
					if len(h.Cookie) > 0 {
						answered = metrics.WrongCookie
					}
					moves(t, g, r, c.Datagram, answered, metrics.AnswerSent)
					if a := r.receive(patience); len(a) == 0 || len(a) > len(c.Datagram) {
						t.Errorf("the answer has %d bytes, the question %d", len(a), len(c.Datagram))
					}
				})
			}
			if n := s.relayed(); n != 0 {
				t.Errorf("%d datagrams reached the server", n)
			}
			totals := g.Totals()
			if sum := clientSum(totals); sum != totals.Received {
				t.Errorf("client stage: %d outcomes of %d datagrams", sum, totals.Received)
			}
		})
	}
}

// TestForeignCookies: a cookie is valid for the handshake, address, port and destination that it was made for,
// at full length, and until its secret has been rotated twice.
func TestForeignCookies(t *testing.T) {
	t.Parallel()
	s, other := startBackend(t, anyPort, anyCookie), startBackend(t, anyPort, anyCookie)
	g := startGuard(t, s.addr(), func(c *frontend.Config) {
		c.Services[0].Listen = netip.MustParseAddrPort(freeAddress(t))
		c.Services = append(c.Services, frontend.Service{Listen: netip.MustParseAddrPort(freeAddress(t)), Backends: frontend.At(other.addr())})
	})
	elsewhere := g.Listening()[1]
	r := dialRaw(t, "127.0.0.2:0", g.addr)
	samePort := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), r.addr().Port()).String()
	hello1 := randomly(1)
	answers := uint64(0) // sent to clients
	cookieFor := func(r *raw, b *hellotest.Builder) []byte { answers++; return r.cookieFor(b) }
	refused := func(name string, cookie []byte) {
		t.Run(name, func(t *testing.T) {
			g.waitCount(t, metrics.AnswerSent, answers) // counted after they are sent
			answers++
			moves(t, g, r, second(hello1, cookie), metrics.WrongCookie, metrics.AnswerSent)
			if r.receive(patience) == nil {
				t.Error("no other cookie for it")
			}
		})
	}
	refused("another address", cookieFor(dialRaw(t, samePort, g.addr), hello1))
	refused("another port", cookieFor(dialRaw(t, "127.0.0.2:0", g.addr), hello1))
	refused("another random", cookieFor(r, randomly(2)))
	toElsewhere := *r
	toElsewhere.to = elsewhere
	refused("another destination", cookieFor(&toElsewhere, hello1))
	dtls10 := *hello1
	dtls10.Version = 0xfeff
	refused("another version", cookieFor(r, &dtls10))
	good := cookieFor(r, hello1)
	refused("truncated", good[:31])
	refused("lengthened", append(bytes.Clone(good), 0))
	for range 2 {
		if err := g.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	refused("expired", good)
	good = cookieFor(r, hello1)
	if err := g.Rotate(); err != nil {
		t.Fatal(err)
	}
	if n := s.relayed() + other.relayed(); n != 0 {
		t.Errorf("%d datagrams reached the servers", n)
	}
	// The valid cookie is still accepted under the next secret: nothing above was refused for another reason.
	r.send(second(hello1, good))
	s.next(t)
}

func freeAddress(t *testing.T) string { return address("127.0.0.1", freePort(t)).String() }

// mutated is a datagram of any length up to the most that UDP over IPv4 carries: random bytes, or a ClientHello
// with one to four mistakes.
func mutated(random *rand.Rand, seeds []hellotest.Case) []byte {
	const most = 65507
	if random.IntN(4) == 0 {
		n := random.IntN(200)
		if random.IntN(4) == 0 {
			n = random.IntN(most + 1)
		}
		d := make([]byte, n)
		for i := range d {
			d[i] = byte(random.Uint32())
		}
		if n > 0 && random.IntN(2) == 0 {
			d[0] = byte(20 + random.IntN(6)) // otherwise hardly any would be DTLS
		}
		return d
	}
	d := bytes.Clone(seeds[random.IntN(len(seeds))].Datagram)
	for range 1 + random.IntN(4) {
		switch at := random.IntN(len(d) + 1); random.IntN(4) {
		case 0:
			d = d[:at]
		case 1:
			d = append(d, make([]byte, random.IntN(most+1-len(d)))...)
		default:
			if at < len(d) {
				d[at] ^= byte(1 << random.IntN(8))
			}
		}
	}
	return d
}

// TestAnyDatagram: whatever an unverified client sends, the guard answers only well-formed ClientHellos, never with more
// bytes than it received, keeps no state, and goes on serving. Not parallel: it measures the heap.
func TestAnyDatagram(t *testing.T) {
	const datagrams = 4000
	seeds := append(hellotest.Cases(), hellotest.Captured()...)
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr())
	r := dialRaw(t, anyPort, g.addr)
	random := rand.New(rand.NewPCG(6347, 9147)) // any seed: the same datagrams in each run
	before := heap()
	var answers uint64
	for i := range uint64(datagrams) {
		d := mutated(random, seeds)
		if hello.Parse(d, new(hello.ClientHello)) != hello.OK {
			r.send(d)
		} else {
			answers++
			a := r.ask(d)
			if _, ok := hello.HelloVerifyCookie(a); !ok || len(a) > len(d) || !bytes.Equal(a[3:11], d[3:11]) {
				t.Fatalf("datagram %d: question %x, answer %x", i, d, a)
			}
		}
		if i%32 == 31 { // the socket's buffer has room for 32 of the longest
			eventually(t, "the guard has read all", func() bool { return g.Totals().Received == i+1 })
		}
	}
	totals := g.Totals()
	if got := totals.Events[metrics.AnswerSent]; got != answers {
		t.Errorf("%d answers, want one for each of %d well-formed ClientHellos", got, answers)
	}
	if sum := clientSum(totals); sum != datagrams {
		t.Errorf("client stage: %d outcomes of %d datagrams", sum, datagrams)
	}
	if n := s.relayed(); n != 0 {
		t.Errorf("%d datagrams of an unverified client reached the server", n)
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 { // the runtime itself needs less
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	established(r, s, 1) // the guard still serves
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAnyDatagramOfAFlow: of the datagrams that a client with a flow sends, the server gets those that are neither ClientHellos nor
// malformed, unchanged and in order, and nothing else.
func TestAnyDatagramOfAFlow(t *testing.T) {
	t.Parallel()
	seeds := append(hellotest.Cases(), hellotest.Captured()...)
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr())
	r := dialRaw(t, anyPort, g.addr)
	established(r, s, 1)
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		d := mutated(random, seeds)
		switch reason := hello.Parse(d, new(hello.ClientHello)); {
		case reason == hello.OK:
			r.ask(d)
		case reason < hello.Malformed:
			r.send(d)
			if got := s.next(t).Data; !bytes.Equal(got, d) {
				t.Fatalf("server got %x, want %x", got, d)
			}
		default:
			r.send(d)
		}
	}
	eventually(t, "all are counted", func() bool { return clientSum(g.Totals()) == 1003 })
	if n := s.relayed(); n != 0 {
		t.Errorf("%d more datagrams reached the server", n)
	}
}
