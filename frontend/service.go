package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// service is one public address, its workers and the servers it hands clients to.
type service struct {
	config         *Config
	name           string
	listen         netip.AddrPort // the public address
	port           uint16         // its port
	inline         bool           // the server is on this host and keeps the address: workers only answer
	log            *slog.Logger
	budget         *relay.Budget
	room           relay.Quota         // what it has of upstream sockets
	clock          func() int64        // CLOCK_MONOTONIC, nanoseconds
	handshakeTimes prometheus.Observer // seconds of finished handshakes
	gate           *addresses.Gate
	events         *events.Channel
	attack         attackState
	sketchSeed     [2]uint64 // of all its workers' sketches
	kernel         *kernel   // nil: no XDP
	mapLog         *mapLog   // nil: none
	workers        []*worker

	mu          sync.Mutex // serialises changes of what follows
	targets     []*target
	live        []*liveBackend // all that are open, those included that only have flows left
	now         atomic.Pointer[serving]
	refused     atomic.Pointer[error]    // why the programs do not follow; nil: they do
	unprotected atomic.Bool              // the programs could not be told what they must do
	others      atomic.Pointer[[]string] // inline: interfaces that lead past the programs
	open        atomic.Pointer[openness] // ... and what was said of them
	health      atomic.Pointer[health]   // inline; nil: it was not looked at yet

	askOverIPv6 atomic.Bool // inline: the server is asked at ::1 instead of 127.0.0.1

	configured Service
	draining   atomic.Bool // no new clients are let in
	held       atomic.Pointer[hold]
	inherited  *serviceState // what it was in another process; nil: it was not there
	delivery   delivery      // inline
	large      atomic.Bool   // warned that a server's datagrams are fragmented on their way to clients

	ctx     context.Context // of what runs, but for the workers
	cancel  context.CancelFunc
	ending  sync.Once
	stop    chan struct{} // closed when the workers are to end
	running sync.WaitGroup

	stopAsking context.CancelFunc // ends the questions about pre-shared keys; only watchInline uses it
}

// serving is the configuration that a service's workers use. It is immutable: when back ends or settings change, it is
// replaced. Workers load it once per batch.
type serving struct {
	settings   *Settings
	draining   bool     // nobody new is let in
	interfaces []string // that it is guarded on; none: all
	keys       *cookie.Store
	secrets    *secrets
	hellos     *limit.Hellos
	fit        *handoff.Fit   // inline; nil: not known
	backends   []*liveBackend // of a proxy: those that have answered
}

// alone reports whether there is exactly one back end, so that the programs can know its cookies.
func (v *service) alone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.configured.Backends) == 1
}

// list is the targets in force.
func (v *service) list() []*target {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.targets
}

// change puts a copy of the current serving in force that f has modified.
func (v *service) change(f func(*serving)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	next := *v.now.Load()
	f(&next)
	v.now.Store(&next)
	v.fitRoom()
	for _, w := range v.workers {
		w.poller.Wake()
	}
	v.kernel.follow(v)
}

// publish makes the back ends known to workers and programs.
func (v *service) publish() { v.offer(nil, nil) }

// offer does it with next in place of t's back end.
func (v *service) offer(t *target, next *liveBackend) {
	v.change(func(s *serving) {
		s.backends, s.draining = nil, v.draining.Load()
		for _, other := range v.targets {
			e := other.backend.Load()
			if other == t {
				e = next
			}
			if e != nil && !s.draining {
				s.backends = append(s.backends, e)
			}
		}
	})
}

// serve makes next, a back end of target t that has answered, known to workers and programs, in place of the previous one.
func (v *service) serve(t *target, next *liveBackend) {
	v.offer(t, next)
	if old := t.backend.Swap(next); old != nil {
		old.release()
	}
}

// modes returns the current hand-off mode of each back end that new clients are handed to.
func (s *serving) modes() (modes []handoff.Mode) {
	if s.draining {
		return nil
	}
	if s.fit != nil {
		return []handoff.Mode{s.fit.Mode}
	}
	for _, e := range s.backends {
		modes = append(modes, e.Mode())
	}
	return modes
}

// situation returns the input of divide for programs attached in the given mode.
func (v *service) situation(attached bpf.AttachMode) situation {
	s := v.now.Load()
	t := situation{
		inline: v.inline, modes: s.modes(), mac: v.config.MAC, asked: s.settings.Answer, attached: attached, workers: len(v.workers) > 0,
		foreign: v.kernel != nil && s.secrets != v.kernel.secrets,
		lost:    v.kernel != nil && v.kernel.deafFor(v),
	}
	if s.fit != nil {
		t.mapped = s.fit.Mapped
	}
	if len(s.backends) == 1 {
		t.sharedPool, t.cookieLength = s.backends[0].memory.Load() != nil && s.backends[0].Entries() > 0, s.backends[0].CookieLength()
	}
	return t
}

// newService makes a service of s, which has no sockets yet.
func (s *Server) newService(c *Service, listen netip.AddrPort, secrets *secrets) *service {
	v := &service{
		config: &s.config, name: c.Name, listen: listen, port: listen.Port(), inline: c.Inline(), budget: s.budget, kernel: s.kernel, mapLog: s.mapLog,
		configured: *c, clock: s.clock, gate: s.newGate(), events: s.events, stop: make(chan struct{}),
	}
	if v.name == "" {
		v.name = listen.String()
	}
	v.sketchSeed = drawSeed()
	v.handshakeTimes = s.durations.WithLabelValues(v.name)
	v.log = s.config.Log.With("service", v.name)
	v.now.Store(&serving{settings: c.Settings, interfaces: c.Interfaces, keys: &secrets.store, secrets: secrets, hellos: limit.NewHellos(c.Settings.HelloRate, c.Settings.BackendHelloRate)})
	v.fitRoom()
	if v.inline && transit(listen.Addr(), forwardingFiles) {
		v.log.Warn("this host forwards, and the service is on every address: datagrams that pass through to this port of other hosts are taken for its own",
			"hint", "name the server's addresses, one service each, in place of all")
	}
	return v
}

// handoffConfig returns the configuration of the hand-off to a server of the service.
func (v *service) handoffConfig(s *serving) handoff.Config {
	c := handoff.Config{
		Server: v.listen, Mode: s.settings.Handoff, Pool: s.settings.HarvestPool, Rate: s.settings.HarvestRate, MAC: v.config.MAC, Cookies: v.config.Cookies,
		PSK: s.settings.PSKSuite, Gate: v.gate, Now: v.clock, Log: v.log,
		Changed: func(up bool, why error) { v.backendIs(v.listen.String(), up, why) },
	}
	if s.settings.SecretFile != "" {
		c.Keys = s.keys.Load
	}
	return c
}

// backendIs emits the event of a server that went down or came up.
func (v *service) backendIs(backend string, up bool, why error) {
	if up {
		v.events.Emit(events.BackendUp, v.name, "backend", backend)
	} else {
		v.events.Emit(events.BackendDown, v.name, "backend", backend, "error", why)
	}
}

// open opens the sockets of a service beside others and makes its workers; its back ends are asked later, by run.
func (s *Server) open(c *Service, others []*service) (*service, error) {
	secrets, err := s.secretsOf(c.Settings)
	if err != nil {
		return nil, err
	}
	before := s.inherited.service(c.key())
	conns, err := s.inherited.conns(before)
	listenAt := c.Listen
	switch {
	case err != nil:
	case !c.Inline():
		switch {
		case len(conns) > 0:
		case s.inherited.taken(c.Listen):
			conns, err = listenBeside(c.Listen, s.config.Workers, &s.config)
		default:
			conns, err = listen(c.Listen, &s.config)
		}
		if err == nil {
			listenAt = conns[0].Local()
		}
	case len(conns) > 0:
	case c.Settings.Answer != bpf.AnswerXDP:
		conns, err = listenInline(c.Listen, s.workersPort(others), &s.config)
	}
	if err != nil {
		return nil, err
	}
	v := s.newService(c, listenAt, secrets)
	v.inherited = before
	if err := v.addWorkers(conns); err != nil {
		v.close()
		return nil, err
	}
	s.answerFromPort(v)
	if m := c.Settings.Handoff; c.Inline() && m != handoff.Auto && m != handoff.Reset && !m.Native() {
		v.change(func(s *serving) { s.fit = &handoff.Fit{Mode: m} }) // the server is asked all the same, whether it does so
	}
	for _, b := range c.Backends {
		v.targets = append(v.targets, newTarget(v, b))
	}
	if err := s.inherited.adopt(v, before); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// workersPort returns the port for the workers of the next inline service: the first from Config.WorkersPort on that none of
// the others has; 0: any.
func (s *Server) workersPort(others []*service) uint16 {
	if s.config.WorkersPort == 0 {
		return 0
	}
	taken := make(map[uint16]bool)
	for i := range s.config.Services {
		taken[s.config.Services[i].Listen.Port()] = true
	}
	for _, v := range others {
		for _, w := range v.workers {
			taken[w.socket.Local().Port()] = true
		}
	}
	port := uint16(s.config.WorkersPort)
	for taken[port] {
		port++
	}
	return port
}

// addWorkers makes a worker for each socket.
func (v *service) addWorkers(conns []*udpbatch.Conn) error {
	cpus := allowedCPUs()
	for i, c := range conns {
		cpu := -1
		if len(conns) <= len(cpus) {
			cpu = cpus[i]
		}
		w, err := newWorker(v, c, cpu)
		if err != nil {
			closeAll(conns[i+1:])
			return err
		}
		if v.inherited != nil {
			w.counts.Begin(c.Overruns())
		}
		v.workers = append(v.workers, w)
	}
	return nil
}

// run serves until stop is closed; pinned is called by each worker that has its thread, failed by one that cannot go on.
func (v *service) run(ctx context.Context, pinned func(), failed func(error)) {
	for _, w := range v.workers {
		v.running.Go(func() {
			w.pinThread()
			pinned()
			if err := w.run(v.stop); err != nil {
				failed(err)
			}
		})
	}
	v.ctx, v.cancel = context.WithCancel(ctx)
	for _, t := range v.targets {
		v.runTarget(t)
	}
	if v.inline {
		v.running.Go(func() { v.watchInline(v.ctx) })
	}
}

// runTarget runs a target until it or the service ends.
func (v *service) runTarget(t *target) {
	var ctx context.Context
	ctx, t.stop = context.WithCancel(v.ctx)
	v.running.Go(func() { t.run(ctx) })
}

// end has the workers serve what has arrived, and waits until all that runs has ended.
func (v *service) end() {
	v.ending.Do(func() {
		v.cancel()
		close(v.stop)
	})
	for _, w := range v.workers {
		w.poller.Wake()
	}
	v.running.Wait()
}

// close releases what the service holds, its flows included. Nothing of it may be running.
func (v *service) close() {
	for _, w := range v.workers {
		w.kernel = nil // its flows end with the programs, or stay with them
		w.close()
	}
	for _, t := range v.targets {
		t.close()
	}
}

// announce logs the configuration of a service.
func (v *service) announce() {
	if len(v.workers) == 0 {
		return
	}
	conn, asked := v.workers[0].socket, v.config.ReceiveBuffer
	receive, send := conn.Buffers()
	v.log.Info("listening", "socket", conn.Local(), "workers", len(v.workers), "receive_buffer", receive, "send_buffer", send)
	if receive < asked {
		v.log.Warn("kernel granted a smaller receive buffer than asked for", "asked", asked,
			"granted", receive, "hint", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", asked))
	}
}
