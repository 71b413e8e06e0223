package frontend

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// worker serves one socket of a service on one CPU, alone on its thread: no locks, and nothing it writes per
// packet is read by others.
type worker struct {
	service *service
	conn    transport      // its clients' datagrams
	socket  *udpbatch.Conn // what conn is: bound, steered to and polled
	cpu     int            // -1: not pinned
	poller  *udpbatch.Poller
	polling bool // socket is not in poller: see poll
	backlog bool // the last batch was full

	in      *udpbatch.Batch // from clients
	reasons []hello.Reason  // of each slot of in
	answers *udpbatch.Queue
	// Inline, answers leave from the service's port, which is the server's.
	fromPort *udpbatch.RawSender // nil: answers leave by conn
	admitted *udpbatch.Queue     // verified ClientHellos, for the egress program to reinject

	serving  *serving         // that the back ends are of
	backends []*workerBackend // by number, which flows have; nil: the number is free
	active   []*workerBackend // those that new clients go to
	by       []*workerBackend // slot -> whose ClientHello it is
	early    []int            // slots of fragments whose first one has not come yet

	next     []int32       // slot -> next slot of the same flow
	touched  []*relay.Flow // flows with slots pending
	forwards *udpbatch.Queue

	preHandshake *udpbatch.Queue // what a flow's pre-handshake has for the server
	farewell     *udpbatch.Queue // the alert that ends a handshake

	back    *udpbatch.Batch // from the server
	returns *udpbatch.Queue
	// confirms are those of returns whose client has spoken since the last one: they confirm its next hop, too. Answers to
	// ClientHellos never do: where those come from is anybody's word.
	confirms *udpbatch.Queue

	kernel *kernel     // nil: no XDP in front
	credit *bpf.Credit // what XDP may still send here

	flows  *relay.Table
	counts metrics.Counters
	sketch *attack.Sketch // of what nothing verified
	now    int64          // nanoseconds since the server started; read once per batch
	swept  int64
	alive  atomic.Int64 // when the worker last went round
	kept   int64        // when addresses of flows were last refreshed
	large  int          // datagrams of servers that are fragmented on their way to clients, since the last sweep

	requests requests
	tap      atomic.Pointer[tap] // of a capture; nil: none
}

// Tokens of the poller: flows use their ids, from 0 up.
const listenToken = 1<<31 - 1

// burst is how many full batches a worker takes from its socket before it looks at the server's side, so that a
// flood of ClientHellos cannot starve what the server has to say: 4 batches of 64 are about a millisecond.
const burst = 4

// sweepEvery is how often idle flows are looked for.
const sweepEvery = time.Second

// confirmEvery is how often what goes to a client that has spoken confirms its next hop: an entry in use is probed a second
// after it went stale, at the earliest (delay_first_probe_time, arp(7)).
const confirmEvery = time.Second / 2

// newWorker makes a worker on conn, which is its own from now on, and closed if this fails.
func newWorker(s *service, conn *udpbatch.Conn, cpu int) (*worker, error) {
	size := s.config.Batch
	w := &worker{
		service: s, conn: conn, socket: conn, cpu: cpu,
		reasons: make([]hello.Reason, size), by: make([]*workerBackend, size), early: make([]int, 0, size),
		answers: udpbatch.NewQueue(size), admitted: udpbatch.NewQueue(size),
		next: make([]int32, size), touched: make([]*relay.Flow, 0, size), forwards: udpbatch.NewQueue(size),
		preHandshake: udpbatch.NewQueue(relay.PreHandshakeCap), farewell: udpbatch.NewQueue(1), returns: udpbatch.NewQueue(size), confirms: udpbatch.NewQueue(size),
		sketch: attack.NewSketch(s.sketchSeed),
		flows:  relay.NewTable(s.budget, &s.room, relay.Timeouts{Handshake: s.config.HandshakeTimeout, Idle: s.now.Load().settings.IdleTimeout}),
	}
	w.answers.DontFragment, w.admitted.DontFragment, w.confirms.Confirm = true, true, true
	w.requests.init()
	var err error
	if w.poller, err = udpbatch.NewPoller(256); err != nil {
		conn.Close()
		return nil, err
	}
	if w.in, err = udpbatch.NewBatch(size); err == nil {
		w.back, err = udpbatch.NewBatch(size)
	}
	if err == nil {
		err = w.poller.Add(conn.FD(), udpbatch.Event{A: listenToken})
	}
	if err != nil {
		w.close()
		return nil, err
	}
	w.follow()
	return w, nil
}

// close gives back what the worker holds, its socket and its flows included.
func (w *worker) close() {
	for f := w.flows.Any(); f != nil; f = w.flows.Any() {
		w.end(f, metrics.Stopped)
	}
	for _, h := range w.backends {
		if h != nil {
			h.left = true
			w.drop(h)
		}
	}
	w.requests.close()
	w.poller.Close()
	w.conn.Close()
	for _, b := range []*udpbatch.Batch{w.in, w.back} {
		if b != nil {
			b.Close()
		}
	}
}

// pinThread gives the worker a thread of its own, on its CPU and with its priority.
func (w *worker) pinThread() {
	runtime.LockOSThread() // and never unlock: the thread's CPU affinity must not leak to others
	if w.cpu >= 0 {
		var set unix.CPUSet
		set.Set(w.cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			w.service.config.Log.Warn("worker stays unpinned", "cpu", w.cpu, "error", err)
		}
	}
	setNice(w.service.config.Nice, w.service.config.Log)
}

// run serves, on the thread that pinThread got, until stop is closed and the poller woken. What has arrived by then is still
// served.
func (w *worker) run(stop <-chan struct{}) error {
	if w.credit != nil {
		w.credit.Refill(creditBudget)
	}
	for {
		n, woken, err := w.wait()
		if err != nil {
			return fmt.Errorf("worker on %v: %w", w.socket.Local(), err)
		}
		w.now = w.service.clock()
		w.follow()
		before := w.counts.Strangers()
		if w.polling {
			w.fromClients()
		}
		for i := range n {
			if e := w.poller.Event(i); e.A == listenToken {
				w.fromClients()
			} else if f := w.flows.At(e); f != nil {
				w.fromServer(f)
			}
		}
		w.flushReturns()
		w.poll(w.counts.Strangers() - before)
		if w.now-w.swept >= int64(sweepEvery) {
			w.sweep()
		}
		w.counts.Publish()
		w.alive.Store(w.now)
		if woken {
			w.park()
			w.requests.serve()
			select {
			case <-stop:
				w.fromClients()
				w.counts.Publish()
				return nil
			default:
			}
		}
	}
}

// sweep ends idle flows and tells the back end of those it was silent to.
func (w *worker) sweep() {
	w.swept = w.now
	w.counts.Overran(w.conn.Overruns())
	w.service.fitRoom()
	w.flows.SetIdle(w.serving.settings.IdleTimeout)
	silent := w.flows.Sweep(w.now, func(f *relay.Flow, e relay.Expiry) {
		w.end(f, metrics.Ended(e))
	})
	w.keepAddresses()
	w.warnLarge()
	for _, h := range w.backends {
		if h == nil || h.backend == nil {
			continue
		}
		if h.heard {
			h.heard = false
			h.backend.ServerSpoke()
		}
		if silent {
			h.backend.Recheck(handoff.Unanswered)
		}
	}
}

// end ends a flow, for the reason that why counts.
func (w *worker) end(f *relay.Flow, why metrics.Event) {
	w.counts.Count(why)
	w.service.mapLog.closing(w, f, why)
	if w.kernel != nil && f.Alone() {
		w.kernel.forget(w.service, f.Client)
	}
	h := w.backends[f.Server]
	if f.Handshaking {
		if why == metrics.Ended(relay.HandshakeLate) {
			w.counts.Count(metrics.TimedOut)
		} else {
			w.counts.Count(metrics.Failed)
		}
		h.backend.HandshakeDone(false)
	}
	w.poller.Remove(f.Upstream.FD())
	if f.State == relay.HalfOpen && f.Answered() && why != metrics.Refused {
		w.abort(f)
	}
	w.flows.Close(f)
	h.flows--
	w.drop(h)
}

// abort has the server forget a handshake that nobody goes on with. It would keep it for longer than the guard keeps the flow,
// and send its flight again, to whom the pool's entry is given next: a client that gets another handshake's flight fails.
func (w *worker) abort(f *relay.Flow) {
	w.farewell.Add(handoff.Abort, nil)
	_, _ = f.Upstream.Send(w.farewell)
}

// handshakeOver tells the back end that f's handshake is over, if it is.
func (w *worker) handshakeOver(f *relay.Flow) {
	if f.State == relay.HalfOpen {
		return
	}
	f.Handshaking = false
	if f.State == relay.Established {
		w.counts.Count(metrics.Finished)
		w.service.handshakeTimes.Observe(time.Duration(w.now - f.Born).Seconds())
	} else {
		w.counts.Count(metrics.Failed)
	}
	w.backends[f.Server].backend.HandshakeDone(f.State == relay.Established)
	if f.State == relay.Established {
		w.serving.hellos.Finished(&f.Client.IP, w.now)
		w.keep(f)
	}
}
