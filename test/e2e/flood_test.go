package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// flood sends bad datagrams from many addresses of 127.0.0.0/8.
type flood struct {
	sources []*net.UDPConn
	random  *rand.Rand
	seeds   []hellotest.Case
	to      *net.UDPAddr
}

func newFlood(t *testing.T, guard netip.AddrPort) *flood {
	t.Helper()
	f := &flood{
		random: rand.New(rand.NewPCG(127, 8)), to: net.UDPAddrFromAddrPort(guard),
		seeds: append(hellotest.Cases(), hellotest.Captured()...),
	}
	for range 64 {
		r := f.random.Uint32()
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, byte(r>>16), byte(r>>8), byte(r)|1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		f.sources = append(f.sources, c)
	}
	return f
}

// next returns a ClientHello without a cookie, one with a wrong cookie, a record of no flow, or junk.
func (f *flood) next() []byte {
	b := hellotest.New()
	binary.BigEndian.PutUint64(b.Random[:], f.random.Uint64())
	switch f.random.IntN(4) {
	case 0:
		return b.Bytes()
	case 1:
		cookie := make([]byte, []int{16, 20, 32}[f.random.IntN(3)])
		for i := range cookie {
			cookie[i] = byte(f.random.Uint32())
		}
		return second(b, cookie)
	case 2:
		return [][]byte{record(23, 1, "data"), record(22, 0, "not a hello"), record(21, 0, "\x02\x28"), cidRecord("data")}[f.random.IntN(4)]
	}
	return mutated(f.random, f.seeds)
}

// send sends n datagrams, each from one of the sources.
func (f *flood) send(t *testing.T, n int) {
	for range n {
		if _, err := f.sources[f.random.IntN(len(f.sources))].WriteToUDP(f.next(), f.to); err != nil {
			t.Error(err)
		}
	}
}

// TestFloodStaysOutside: none of thousands of bad datagrams reaches the server.
func TestFloodStaysOutside(t *testing.T) {
	t.Parallel()
	for mode, cookies := range backends {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := startBackend(t, anyPort, cookies)
			g := startGuard(t, s.addr())
			f := newFlood(t, g.addr)
			const rounds, each = 250, 32 // the socket's buffer holds a round of the longest datagrams
			for i := range uint64(rounds) {
				f.send(t, each)
				eventually(t, "the guard has read all", func() bool { return g.Totals().Received == (i+1)*each })
			}
			totals := g.Totals()
			if sum := clientSum(totals); sum != totals.Received {
				t.Errorf("client stage: %d outcomes of %d datagrams", sum, totals.Received)
			}
			for _, e := range []metrics.Event{metrics.Verified, metrics.Relayed, metrics.ForwardSent, metrics.ForwardFailed} {
				if n := totals.Events[e]; n != 0 {
					t.Errorf("%v: %d, want none", metrics.Labels[e], n)
				}
			}
			if answers := totals.Events[metrics.Answered] + totals.Events[metrics.WrongCookie]; answers < rounds*each/3 {
				t.Errorf("%d answers: the flood had more well-formed ClientHellos", answers)
			}
			// The server answers in order, so what was relayed before this question has arrived.
			asked := s.questions()
			eventually(t, "the server is asked again", func() bool { return s.questions() > asked })
			if n := s.relayed(); n != 0 {
				t.Errorf("%d datagrams of the flood reached the server", n)
			}
		})
	}
}

// TestClientsDuringFlood: during a flood real clients reach the server, and nothing else does.
func TestClientsDuringFlood(t *testing.T) {
	t.Parallel()
	for mode := range backends {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			g := startGuard(t, echoServer(t, address("127.0.0.1", freePort(t)), mode).addr)
			f := newFlood(t, g.addr)
			done := make(chan struct{})
			var flooding sync.WaitGroup
			flooding.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						// A pause now and then leaves the clients a share of the machine: this is about what gets
						// through, not about how much the guard can take.
						f.send(t, 64)
						time.Sleep(time.Millisecond)
					}
				}
			})
			stop := sync.OnceFunc(func() { close(done); flooding.Wait() })
			defer stop()
			dialers := []dialer{openssl(), gnutls(), pion(), pion(), pion()}
			for _, dial := range dialers {
				before := g.count(metrics.WrongCookie)
				c := dial(t, g.addr)
				c.ping("ping through the flood")
				c.close()
				g.waitCount(t, metrics.WrongCookie, before+100) // there was a flood
			}
			stop()
			if n := g.count(metrics.Verified); n != uint64(len(dialers)) {
				t.Errorf("%d flows for %d clients", n, len(dialers))
			}
		})
	}
}
