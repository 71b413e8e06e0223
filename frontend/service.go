package frontend

import (
	"context"
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
