package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Draining describes what a draining guard waits for.
type Draining struct {
	Flows  int    `json:"flows"`
	AtMost string `json:"at_most"` // a duration
}

// String formats it in one line.
func (d Draining) String() string { return fmt.Sprintf("%d flows, at most %s", d.Flows, d.AtMost) }

// OnDrain sets the function that a drain request over the control socket calls; it returns at once. Call it before Run.
func (s *Server) OnDrain(f func()) { s.drainer = f }

// serveDrain drains the guard.
func (s *Server) serveDrain(w http.ResponseWriter, _ *http.Request) {
	if s.drainer == nil {
		http.Error(w, "this guard cannot be drained", http.StatusConflict)
		return
	}
	s.drainer()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Draining{s.Flows(), s.config.DrainTimeout.String()})
}

// remove drains a service and ends it.
func (s *Server) remove(v *service) {
	v.drain()
	s.running.Go(func() {
		if s.drained(v) {
			s.tearDown(v)
		}
	})
}

// tearDown ends a service that has drained, unless a reload has taken it back into use or the guard is handed over. There is no
// reload meanwhile, so nobody opens a service of the same address while this one is still known somewhere.
func (s *Server) tearDown(v *service) {
	s.reload.Lock()
	defer s.reload.Unlock()
	if !v.draining.Load() || s.frozen.Load() || !slices.Contains(s.list(), v) {
		return
	}
	if v.inline {
		s.life.Lock()
		s.kernel.inlineHandshakes(v, s.goneTotals(v.name)) // of counters that go with the service
		s.life.Unlock()
	}
	s.kernel.remove(v)
	s.life.Lock()
	s.services = slices.DeleteFunc(slices.Clone(s.services), func(o *service) bool { return o == v })
	s.life.Unlock()
	v.end()
	s.life.Lock()
	for _, w := range v.workers {
		w.counts.AddTo(s.goneTotals(v.name))
	}
	s.life.Unlock()
	v.close()
	v.log.Info("service removed")
}

// drain refuses new clients; existing flows continue.
func (v *service) drain() {
	v.draining.Store(true)
	v.publish()
}

// Intervals at which the flows of draining services are counted: a look through the programs' table takes 10 ms for 65 536 flows.
const (
	drainLook       = 100 * time.Millisecond
	inlineDrainLook = time.Second
)

// drainLook is that interval.
func (v *service) drainLook() time.Duration {
	if v.inline {
		return inlineDrainLook
	}
	return drainLook
}

// drained waits until a service has no flows left, or for the drain timeout. It is false if the service was taken back into
// use, or the guard ends.
func (s *Server) drained(v *service) bool {
	for end := time.Now().Add(s.config.DrainTimeout); v.draining.Load() && v.ctx.Err() == nil; sleep(v.ctx, v.drainLook()) {
		if v.flows() == 0 || !time.Now().Before(end) {
			return true
		}
	}
	return false
}

// flows counts the flows of a service.
func (v *service) flows() int {
	halfOpen, established := v.kernel.inlineFlows([]*service{v})
	return v.room.Used() + halfOpen + established
}

// Drain refuses new clients, and returns when the last flow is idle, or after Config.DrainTimeout, or when ctx ends.
func (s *Server) Drain(ctx context.Context) {
	s.config.Log.Info("draining", "flows", s.Flows(), "at_most", s.config.DrainTimeout)
	ctx, cancel := context.WithTimeout(ctx, s.config.DrainTimeout)
	defer cancel()
	every := drainLook
	s.reload.Lock()
	s.ending = true
	for _, v := range s.list() {
		v.drain()
		every = max(every, v.drainLook())
	}
	s.reload.Unlock()
	for s.Flows() > 0 && ctx.Err() == nil {
		sleep(ctx, every)
	}
}
