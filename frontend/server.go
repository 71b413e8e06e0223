package frontend

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// Server is a guard.
type Server struct {
	config  Config
	kernel  *kernel                // nil: no XDP
	raw     []*udpbatch.RawSockets // by number of worker; none: answers leave by the workers' own sockets
	noRaw   error                  // why there are none, until it is logged
	started time.Time

	inherited *inherited // from the guard before, until New returns; nil: there was none
	upgrades  upgradeCounters
	upgrade   func(Upgrade) (Upgraded, error) // OnUpgrade
	frozen    atomic.Bool
	drainer   func() // OnDrain

	zero   int64 // of the workers' clock, at started
	set    *addresses.Set
	lists  *addresses.Lists
	budget *relay.Budget
	mapLog *mapLog // nil: none

	capturing atomic.Bool // an operator captures
	sampling  sync.Mutex  // held while somebody samples in the kernel

	ended   int // flows when it stopped
	running sync.WaitGroup
	atWork  chan struct{} // closed when all workers are

	life     sync.RWMutex // held by readers of what follows, which close and reload change
	services []*service
	secrets  map[secretKey]*secrets
	closed   bool
	flags    map[string]any             // the values in force, as status shows them
	gone     map[string]*metrics.Totals // of services that were removed, by name

	durations metrics.Durations
	events    *events.Channel
	followers atomic.Int32 // of events

	again         func(context.Context) (Config, error) // reads the configuration again; nil: there is none
	reload        sync.Mutex
	ending        bool // the guard drains as a whole; guarded by reload
	reloads       atomic.Uint64
	reloadsFailed atomic.Uint64
	secretsRun    func(*secrets)                  // of Run; nil before
	start         func(v *service, pinned func()) // of Run
}

// New opens everything that a guard needs, but contacts no back end yet. On failure nothing is left behind, and the error has a
// hint; errors.Is(err, hint.ErrUsage) reports a wrong configuration.
func New(c Config) (*Server, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Server{config: c, started: time.Now(), zero: monotonic(), atWork: make(chan struct{}), secrets: make(map[secretKey]*secrets),
		flags: c.flags(), gone: make(map[string]*metrics.Totals), durations: metrics.NewDurations(), events: events.New(c.Log, time.Now)}
	if err := s.openAll(); err != nil {
		if s.kernel != nil && c.Predecessor != nil {
			s.kernel.ours = false // the guard before goes on, and its programs
		}
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *Server) openAll() (err error) {
	if len(s.config.XDP.Interfaces) > 0 {
		if s.kernel, err = openKernel(&s.config); err != nil {
			return err
		}
		s.kernel.events = s.events
	}
	s.openRaw()
	before := filesOpen()
	if err = s.inherit(); err != nil {
		return err
	}
	inherited := filesOpen() - before
	if err = s.openAddresses(); err != nil {
		return err
	}
	if s.inherited != nil && s.config.Predecessor.live { // a restart forgets what was given at run time
		if err = s.lists.Restore(s.inherited.state.Rules); err != nil {
			return err
		}
	}
	if err = s.openMapLog(); err != nil {
		return err
	}
	s.budget = relay.NewBudget(s.config.limits())
	for i := range s.config.Services {
		v, err := s.open(&s.config.Services[i], s.services)
		if err != nil {
			return err
		}
		s.services = append(s.services, v)
	}
	s.clampFlows(inherited)
	if s.kernel != nil {
		if err := s.kernel.attach(s.services); err != nil {
			return err
		}
	}
	return s.inheritFlows()
}

// clock is what workers tell the time by: CLOCK_MONOTONIC, in nanoseconds.
func (s *Server) clock() int64 { return s.zero + int64(time.Since(s.started)) }

// list is the services in force.
func (s *Server) list() []*service {
	s.life.RLock()
	defer s.life.RUnlock()
	return slices.Clone(s.services)
}

// Run serves until ctx ends, then serves what has arrived, ends all flows and returns nil, or that its programs are still
// attached. It returns early with an error only if a worker cannot go on. A Server runs once.
func (s *Server) Run(ctx context.Context) error {
	var starting sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
		cancel()
	}
	setAutogroupNice(s.config.Nice, s.config.Log)
	services := s.list()
	s.start = func(v *service, pinned func()) { v.run(ctx, pinned, fail) }
	for _, v := range services {
		v.announce()
		starting.Add(len(v.workers))
		s.start(v, starting.Done)
	}
	if s.kernel != nil {
		s.running.Go(func() { s.sampleXDP(ctx) })
		s.running.Go(func() { s.kernel.beat(ctx, s.list, s.clock) })
		s.running.Go(func() { s.kernel.watchFlows(ctx, s.list, s.idleTimes, s.budget.Limits) })
		if n := s.kernel.neighbours; n != nil {
			s.running.Go(func() { n.run(ctx) })
		}
	}
	s.runSecrets(ctx)
	s.running.Go(func() { s.lists.Run(ctx) })
	s.running.Go(func() { s.watchGates(ctx) })
	s.running.Go(func() { s.watchAttacks(ctx) })
	s.running.Go(func() { s.tellProgress(ctx, services) })
	starting.Wait()
	close(s.atWork)
	<-ctx.Done()
	for _, v := range s.list() {
		v.end()
	}
	s.running.Wait()
	s.ended = s.budget.Used()
	attached := s.close()
	select {
	case err := <-failed:
		return errors.Join(err, attached)
	default:
		return attached
	}
}

// progressEvery is the interval of progress messages of a slow start.
const (
	progressEvery   = time.Second
	slowestProgress = 10 * time.Second // a server that is silent is asked for half a minute
)

// tellProgress logs how many back ends are ready and how many are in their first probe, until that has ended for all.
func (s *Server) tellProgress(ctx context.Context, services []*service) {
	var all []*target
	for _, v := range services {
		all = append(all, v.list()...)
	}
	began := time.Now()
	for every := progressEvery; ctx.Err() == nil; every = min(2*every, slowestProgress) {
		if sleep(ctx, every); ctx.Err() != nil {
			return
		}
		probing, ready := 0, 0
		for _, t := range all {
			select {
			case <-t.tried:
			default:
				probing++
			}
			if t.backend.Load() != nil {
				ready++
			}
		}
		after := time.Since(began).Round(time.Second / 10)
		if probing > 0 {
			s.config.Log.Info("waiting for back ends", "backends", len(all), "ready", ready, "probing", probing, "after", after)
			continue
		}
		if len(all) > 1 {
			s.config.Log.Info("back ends probed; those that are not ready are probed again", "backends", len(all), "ready", ready, "after", after)
		}
		return
	}
}

// FlowsEnded is how many flows Run ended when it stopped.
func (s *Server) FlowsEnded() int { return s.ended }

// Started is closed once each worker of Run has its thread, on the CPU and with the priority that it keeps.
func (s *Server) Started() <-chan struct{} { return s.atWork }

// close releases everything. The error says that programs are still attached.
func (s *Server) close() error {
	s.life.Lock()
	defer s.life.Unlock()
	s.closed = true
	err := s.kernel.detach() // first: no ClientHello must come to a worker that is gone
	for _, v := range s.services {
		v.close()
	}
	s.closeRaw()
	s.mapLog.close()
	s.kernel.close() // last: the ports of pools are marked in its memory
	return err
}

// Give changes the owner of pins and map log to the user that this process is about to become.
func (s *Server) Give(uid, gid int) error {
	if err := s.mapLog.give(uid, gid); err != nil || s.kernel == nil {
		return err
	}
	return s.kernel.guard.GivePins(uid, gid)
}

// Listening returns the services' public addresses, with the ports that the kernel chose.
func (s *Server) Listening() []netip.AddrPort {
	var a []netip.AddrPort
	for _, v := range s.list() {
		a = append(a, v.listen)
	}
	return a
}
