package frontend

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// swallowing is a pre-handshake that keeps what the server asks from the client.
type swallowing struct{}

func (swallowing) Client([]byte, *udpbatch.Queue)               { panic("no client speaks") }
func (swallowing) Verify([]byte, *udpbatch.Queue) relay.Verdict { return relay.Swallow }
func (swallowing) Server([]byte)                                {}

// Behind a HelloVerifyRequest that is swallowed a worker sees what came, and neither what a slot of the batch still holds
// of another client's server nor one after the last.
func TestSwallowedIsOneDatagram(t *testing.T) {
	greeting := append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 12, 2}, make([]byte, 11)...)
	for size := 1; size <= 2; size++ {
		w, _ := bareWorker(t, size, modes["trust"])
		server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = server.Close() })
		port, err := relay.OpenUpstream(server.LocalAddr().(*net.UDPAddr).AddrPort(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d, h := hellotest.New().Bytes(), hello.ClientHello{}
		if hello.Parse(d, &h) != hello.OK {
			t.Fatal("no ClientHello")
		}
		rank, _ := w.flows.Reserve(new([16]byte))
		f := w.flows.Open(new(udpbatch.Route), port, &h, rank, 0)
		f.PreHandshake = swallowing{}
		if err := w.poller.Add(port.FD(), f.Event()); err != nil {
			t.Fatal(err)
		}
		came := func(datagrams ...[]byte) {
			t.Helper()
			for _, d := range datagrams {
				if _, err := server.WriteToUDPAddrPort(d, port.Local()); err != nil {
					t.Fatal(err)
				}
			}
			if n, _, err := w.poller.Wait(5000); n != 1 || err != nil {
				t.Fatalf("%d ports have something: %v", n, err)
			}
		}
		for range size { // what the slots hold
			came(greeting)
			if n, err := port.Recv(w.back); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		w.back.Reset()
		came(d[:hello.PutHelloVerify(d, []byte("servers"))])
		w.fromServer(f)
		if f.Answered() {
			t.Errorf("a batch of %d: the flow is taken for answered by what another was told", size)
		}
		if n := w.returns.Len(); n != 0 {
			t.Errorf("a batch of %d: %d datagrams go to the client", size, n)
		}
		came(greeting)
		w.fromServer(f)
		if !f.Answered() || w.returns.Len() != 1 {
			t.Errorf("a batch of %d: what the server says then does not go to the client", size)
		}
	}
}

// Fragments of a verified client's ClientHello that come in another order than they were sent in reach the server; those of a
// client without a cookie are dropped.
func TestReversedFragments(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	count := func(e metrics.Event) uint64 {
		var t metrics.Totals
		w.counts.Publish()
		w.counts.AddTo(&t)
		return t.Events[e]
	}
	b := hellotest.New()
	reversed := func() [][]byte {
		list := b.Fragments(80)
		slices.Reverse(list)
		return list
	}
	b.Tail = append(b.Tail, append([]byte{0, 100}, make([]byte, 100)...)...)
	loadAll(t, w, client, b.Bytes())
	w.classify()
	w.dispatch()
	c, ok := hello.HelloVerifyCookie(w.in.Datagram(0)) // written over the ClientHello
	if !ok {
		t.Fatalf("no HelloVerifyRequest but %x", w.in.Datagram(0))
	}
	b.Cookie, b.MessageSeq, b.RecordSeq = slices.Clone(c), 1, 1
	w.answers.Reset()
	loadAll(t, w, client, reversed()...)
	n := uint64(w.in.Len())
	w.classify()
	w.dispatch()
	if v, r := count(metrics.Verified), count(metrics.Relayed); n < 3 || v != 1 || r != n-1 {
		t.Errorf("of %d fragments %d are verified and %d relayed", n, v, r)
	}
	w.send()
	b.Cookie[0]++
	w.end(w.flows.Any(), metrics.Stopped)
	loadAll(t, w, client, reversed()...)
	w.classify()
	w.dispatch()
	if d, r := count(metrics.Dropped(hello.LaterFragment)), count(metrics.Relayed); d != n-1 || r != n-1 {
		t.Errorf("without a cookie %d later fragments of %d are dropped, %d relayed", d, n-1, r)
	}
}

// A server's datagrams that are fragmented on their way are counted, and named once; not those to clients on this host.
func TestLargeDatagrams(t *testing.T) {
	for _, c := range []struct {
		size int
		to   string
		want metrics.Event
	}{
		{1452, "2001:db8::1", metrics.Returned}, {1453, "2001:db8::1", metrics.ReturnedLarge}, {16_384, "::1", metrics.Returned},
		{1472, "198.51.100.1", metrics.Returned}, {1473, "198.51.100.1", metrics.ReturnedLarge}, {16_384, "127.80.0.1", metrics.Returned},
	} {
		ip := netip.MustParseAddr(c.to).As16()
		if got := returnedAs(c.size, &ip); got != c.want {
			t.Errorf("%d bytes to %s are counted as %v, want %v", c.size, c.to, metrics.Labels[got], metrics.Labels[c.want])
		}
	}
	w, _ := bareWorker(t, 1, modes["trust"])
	var said strings.Builder
	w.service.log = slog.New(slog.NewTextHandler(&said, nil))
	for range 2 {
		w.large = 1
		w.sweep()
	}
	if n := strings.Count(said.String(), "level=WARN"); n != 1 || !strings.Contains(said.String(), "hint=") {
		t.Errorf("said %d times: %s", n, said.String())
	}
}

// Each datagram moves one counter of the client stage, the right one.
func TestEveryDatagramIsCountedOnce(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	events := func() [metrics.EventLen]uint64 {
		var t metrics.Totals
		w.counts.Publish()
		w.counts.AddTo(&t)
		return t.Events
	}
	for _, c := range hellotest.Cases() {
		want := events()
		load(t, w, client, c.Datagram, 1)
		w.classify()
		w.dispatch()
		w.answers.Reset()
		e := metrics.Answered
		switch {
		case c.Want != hello.OK:
			e = metrics.Dropped(c.Want)
		case strings.Contains(c.Name, "cookie of") || strings.Contains(c.Name, "and cookie"):
			e = metrics.WrongCookie
		}
		want[e]++
		if events() != want {
			t.Errorf("%s: not counted once, as %v", c.Name, metrics.Labels[e])
		}
	}
}

// A service's rate has a second's worth at once, for workers and programs alike.
func TestServiceRateIsASecondsWorth(t *testing.T) {
	for rate, want := range map[float64]int{0.5: 1, 10: 10, 2500: 2500} {
		s := Settings{BackendHelloRate: limit.Rate{PerSecond: rate}}
		s.complete()
		if s.BackendHelloRate.Burst != want {
			t.Errorf("%v per second: a burst of %d, want %d", rate, s.BackendHelloRate.Burst, want)
		}
	}
}

// BenchmarkSketch measures, in turns, what sampling adds to a ClientHello that a worker answers, without the system calls that
// the rest of an answer is.
func BenchmarkSketch(b *testing.B) {
	w, client := bareWorker(b, 64, modes["trust"])
	d := hellotest.Captured()[0].Datagram
	load(b, w, client, d, 64)
	var answers, samples time.Duration
	for b.Loop() {
		for i := range w.in.Len() {
			copy(w.in.Datagram(i), d)
		}
		start := time.Now()
		w.classify()
		w.dispatch()
		between := time.Now()
		for i := range w.in.Len() {
			w.sample(i)
		}
		answers, samples = answers+between.Sub(start), samples+time.Since(between)
		w.answers.Reset()
	}
	b.ReportMetric(100*float64(samples)/float64(answers), "%-of-answer")
	b.ReportMetric(float64(samples.Nanoseconds())/float64(b.N)/64, "ns/datagram")
}
