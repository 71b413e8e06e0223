package e2e

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	testguard "github.com/dtlsguard/dtlsguard/bench/testkit/guard"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
)

// reloadable is a guard whose configuration a test changes.
type reloadable struct {
	*frontend.Server
	mu     sync.Mutex
	config frontend.Config
	err    error
}

func startReloadable(t *testing.T, c frontend.Config) *reloadable {
	t.Helper()
	c.HelloRate, c.HarvestPool, c.Workers = limit.Rate{PerSecond: -1}, 64, 2
	c.FlowsPerSource, c.HalfOpenPerSource, c.DrainTimeout = -1, -1, time.Minute
	s, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r := &reloadable{Server: s, config: c}
	s.OnReload(func(context.Context) (frontend.Config, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.config, r.err
	})
	testguard.Run(t, s)
	<-s.Started()
	r.wait(t)
	return r
}

func (r *reloadable) wait(t *testing.T) {
	t.Helper()
	eventually(t, "all services are ready", func() bool { return r.Ready() == nil })
}

// reload changes the guard's services.
func (r *reloadable) reload(t *testing.T, services ...frontend.Service) frontend.Changes {
	t.Helper()
	r.mu.Lock()
	r.config.Services = services
	r.mu.Unlock()
	done, err := r.Reload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// ready reports whether a service is ready.
func ready(g *frontend.Server, at netip.AddrPort) bool {
	for _, r := range g.Readiness() {
		if r.Listen == at.String() {
			return r.Ready
		}
	}
	return false
}
