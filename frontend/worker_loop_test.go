package frontend

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bench/testkit/server"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// bareWorker makes a worker without a thread, in front of a make-believe server, and a socket to send to it.
func bareWorker(t testing.TB, size int, mode func(*handoff.Backend) handoff.Verifier) (*worker, *udpbatch.Conn) {
	t.Helper()
	c := &Config{Batch: size, MaxFlows: 8, HandshakeTimeout: 30 * time.Second, Cookies: cookie.Measured()}
	backend, err := handoff.Open(t.Context(), handoff.Config{Server: server.Start(t).Addr(), Pool: 16, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	set := addresses.NewSet([2]uint64{1}, 600)
	s := &service{
		gate:       addresses.NewGate(set, new(atomic.Pointer[addresses.Table]), addresses.Policy{Rate: limit.Rate{PerSecond: 50, Burst: 50}}),
		sketchSeed: drawSeed(), handshakeTimes: metrics.NewDurations().WithLabelValues(""), config: c, port: 4433, budget: relay.NewBudget(c.limits()), clock: func() int64 { return int64(time.Since(start)) },
	}
	keys := new(cookie.Store)
	keys.Swap(cookie.NewKeyring(cookie.Secret{1, 2}, 1))
	e := &liveBackend{Backend: backend, service: s, upstreams: relay.NewUpstreams(backend.Server()), weight: 1, cancel: func() {}, ended: make(chan struct{}), closed: make(chan struct{})}
	e.users.Store(1)
	close(e.ended)
	t.Cleanup(e.release)
	s.now.Store(&serving{settings: new(Settings), keys: keys, hellos: limit.NewHellos(limit.Rate{}, limit.Rate{}), backends: []*liveBackend{e}})
	s.fitRoom()
	conn, err := udpbatch.Listen(netip.MustParseAddrPort("127.0.0.1:0"), udpbatch.Options{ReceiveBuffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorker(s, conn, -1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	if mode != nil {
		w.active[0].verifier = mode(backend)
	}
	client, err := udpbatch.Dial(conn.Local())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return w, client
}

// load fills w.in with n copies of d.
func load(t testing.TB, w *worker, client *udpbatch.Conn, d []byte, n int) {
	t.Helper()
	loadAll(t, w, client, slices.Repeat([][]byte{d}, n)...)
}

// loadAll fills w.in.
func loadAll(t testing.TB, w *worker, client *udpbatch.Conn, datagrams ...[]byte) {
	t.Helper()
	n := len(datagrams)
	q := udpbatch.NewQueue(n)
	for _, d := range datagrams {
		q.Add(d, nil)
	}
	if sent, err := client.Send(q); sent != n || err != nil {
		t.Fatal(sent, err)
	}
	w.in.Reset()
	for end := time.Now().Add(5 * time.Second); w.in.Len() < n; {
		if _, err := w.conn.Recv(w.in); err != nil || time.Now().After(end) {
			t.Fatalf("%d of %d datagrams came: %v", w.in.Len(), n, err)
		}
	}
}

var modes = map[string]func(*handoff.Backend) handoff.Verifier{
	"trust":   func(*handoff.Backend) handoff.Verifier { return handoff.NewTrust(cookie.Measured(), 64) },
	"harvest": nil,
}

// BenchmarkWorkerLoop is what a worker does with a batch of 64 first ClientHellos but for the system calls:
// parse, cookie, build. The copy that undoes the building in place is part of it.
func BenchmarkWorkerLoop(b *testing.B) {
	for name, mode := range modes {
		b.Run("mode="+name, func(b *testing.B) {
			w, client := bareWorker(b, 64, mode)
			d := hellotest.Captured()[0].Datagram
			load(b, w, client, d, 64)
			b.ReportAllocs()
			for b.Loop() {
				for i := range w.in.Len() {
					copy(w.in.Datagram(i), d)
				}
				w.classify()
				w.dispatch()
				w.answers.Reset()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/hello")
		})
	}
}

func TestWorkerLoopDoesNotAllocate(t *testing.T) {
	for name, mode := range modes {
		w, client := bareWorker(t, 64, mode)
		cases := hellotest.Cases()
		for i := range cases {
			if len(cases[i].Datagram) == 0 {
				cases[i].Datagram = []byte{0}
			}
		}
		for _, c := range cases {
			load(t, w, client, c.Datagram, 3)
			if n := testing.AllocsPerRun(20, func() {
				for i := range w.in.Len() {
					copy(w.in.Datagram(i), c.Datagram)
				}
				w.classify()
				w.dispatch()
				w.answers.Reset()
			}); n != 0 {
				t.Errorf("%s, %s: %v allocations per batch", name, c.Name, n)
			}
		}
	}
}

// Datagrams of flows do not count: XDP sends them without credit, so it would get more than it spends.
func TestClientHellosGiveCredit(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	d, record := hellotest.New().Bytes(), make([]byte, 60)
	record[0], record[1], record[2], record[4] = 23, 0xfe, 0xfd, 1
	loadAll(t, w, client, record, d, record, record, d)
	if n := w.classify(); n != 2 {
		t.Errorf("%d ClientHellos, want 2", n)
	}
}
