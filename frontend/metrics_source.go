package frontend

import (
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/addresses"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// goneTotals returns the totals of removed services of a name. Call it with life locked.
func (s *Server) goneTotals(name string) *metrics.Totals {
	if s.gone[name] == nil {
		s.gone[name] = new(metrics.Totals)
	}
	return s.gone[name]
}

// Services implements metrics.Source.
func (s *Server) Services() (all []metrics.Service) {
	s.life.RLock()
	defer s.life.RUnlock()
	at, inline := make(map[string]int), make(map[bpf.ServiceKey]bool)
	for _, v := range s.services {
		i, ok := at[v.name]
		if !ok {
			i, at[v.name] = len(all), len(all)
			all = append(all, v.metrics(s.closed))
		}
		// Two of a name: one drains and the other takes its place.
		for _, w := range v.workers {
			w.counts.AddTo(&all[i].Totals)
		}
		if v.inline && !s.closed && !inline[v.key()] {
			inline[v.key()] = true
			s.kernel.inlineHandshakes(v, &all[i].Totals)
		}
	}
	for name, t := range s.gone {
		i, ok := at[name]
		if !ok {
			i = len(all)
			all = append(all, metrics.Service{Name: name, Gone: true})
		}
		all[i].Totals.Add(t)
	}
	return all
}

// metrics returns a service's values that workers do not count. It must not read shared memory after close.
func (v *service) metrics(closed bool) metrics.Service {
	o := v.now.Load().settings
	m := metrics.Service{
		Name: v.name, Flows: make(map[string]int), FlowLimit: v.room.Max(), Ready: v.readiness().Ready,
		HelloLimits: map[string]float64{"source": max(o.HelloRate.PerSecond, 0), "service": max(o.BackendHelloRate.PerSecond, 0)},
	}
	m.Attacked, m.Normal, m.Threshold = v.attack.show()
	secret := v.now.Load().secrets.status()
	m.SecretKeyID, m.SecretAge = secret.KeyID, secret.AgeSeconds
	for state := range relay.Over {
		for _, w := range v.workers {
			m.Flows[state.String()] += w.flows.Count(state)
		}
	}
	if !closed {
		if a := v.admission(); a != nil {
			m.Challenging, m.Challenged = a.Engaged, a.Times
		}
	}
	taken := make(map[string]map[string]int)
	for _, t := range v.list() {
		if e := t.backend.Load(); e != nil && !closed {
			flows, others := e.PoolTaken()
			taken[e.Server().String()] = map[string]int{"flows": flows, "others": others}
		}
	}
	seen := make(map[string]bool)
	for _, b := range v.status(true).Backends {
		if !seen[b.Server] { // while it is probed anew a server appears twice
			m.Backends = append(m.Backends, metrics.Backend{Server: b.Server, Handoff: b.Handoff, Ready: b.Ready, Up: b.Up, Pool: b.Pool, Known: b.Known, Harvests: b.Harvests, Taken: taken[b.Server]})
		}
		seen[b.Server] = true
	}
	return m
}

// Gauges implements metrics.Source.
func (s *Server) Gauges() metrics.Gauges {
	g := metrics.Gauges{
		Build: s.config.Build, Uptime: time.Since(s.started).Seconds(), FlowLimits: s.budget.Limits().Named(),
		Upgrades: s.upgrades.done.Load(), UpgradeFailures: s.upgrades.failed.Load(),
		Reloads: s.reloads.Load(), ReloadFailures: s.reloadsFailed.Load(), ListFailures: s.lists.Failures(), Rules: len(s.lists.Rules()),
		Events: make(map[string]uint64),
	}
	for k, n := range s.events.Counts() {
		g.Events[events.Kind(k).String()] = n
	}
	s.life.RLock() // the set may be in the programs' memory
	if !s.closed {
		g.AddressesKnown = s.set.Len(addresses.Seconds(s.clock()))
	}
	g.Addresses = addresses.DefaultSize
	s.life.RUnlock()
	for _, x := range s.allSecrets() {
		sec := x.status()
		g.Rotations += sec.Rotations
		g.RotationFailures += sec.Failures
	}
	return g
}
