package frontend

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// TestRemoveWaitsForReload: a service that has drained ends between two reloads, not while one is under way, and not if that one
// takes it back into use.
func TestRemoveWaitsForReload(t *testing.T) {
	s := &Server{budget: relay.NewBudget(relay.Limits{Flows: 1}), gone: make(map[string]*metrics.Totals), config: Config{DrainTimeout: time.Minute}}
	v := &service{stop: make(chan struct{}), log: slog.New(slog.DiscardHandler), budget: s.budget}
	v.ctx, v.cancel = context.WithCancel(t.Context())
	v.now.Store(&serving{settings: &Settings{}})
	s.services = []*service{v}
	locked := false
	v.running.Go(func() {
		<-v.ctx.Done()
		if locked = !s.reload.TryLock(); !locked {
			s.reload.Unlock()
		}
	})
	s.tearDown(v)
	if !slices.Contains(s.list(), v) || v.ctx.Err() != nil {
		t.Fatal("a service ends that a reload has taken back")
	}
	s.remove(v)
	s.running.Wait()
	if len(s.list()) != 0 || v.ctx.Err() == nil {
		t.Error("the service is still there")
	}
	if !locked {
		t.Error("a reload may open a service of the same address while this one ends")
	}
}
