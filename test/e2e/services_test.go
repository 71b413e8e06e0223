package e2e

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// TestHundredServices: as many services of one guard start together, each is served, and a reload that brings one more and
// takes one away touches no other.
func TestHundredServices(t *testing.T) {
	t.Parallel()
	const many = 100
	s := startBackend(t, anyPort, anyCookie)
	service := func() frontend.Service {
		return frontend.Service{Listen: address("127.0.0.1", freePort(t)), Backends: frontend.At(s.addr())}
	}
	var services []frontend.Service
	for range many {
		services = append(services, service())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	g := startReloadable(t, frontend.Config{Services: services})
	started := time.Since(began)
	runtime.ReadMemStats(&after)
	for _, v := range g.Status().Services {
		if !v.Ready {
			t.Errorf("%s: %v", v.Listen, v.Reasons)
		}
	}
	for _, v := range []frontend.Service{services[0], services[many-1]} {
		r := dialRaw(t, anyPort, v.Listen)
		r.cookieFor(randomly(1))
	}
	began = time.Now()
	next := append(slices.Clone(services[1:]), service())
	done := g.reload(t, next...)
	reloaded := time.Since(began)
	if len(done.Added) != 1 || len(done.Removed) != 1 || len(done.Changed) != 0 {
		t.Errorf("changes: %v", done)
	}
	eventually(t, "the new service is ready", func() bool { return ready(g.Server, next[many-1].Listen) })
	t.Logf("%d services: ready after %v, %d KiB of heap and stacks each, reloaded in %v", many, started.Round(time.Millisecond),
		(after.Sys-before.Sys)/many>>10, reloaded.Round(time.Millisecond))
}

// TestServicesOfTheirOwn: a service has its own share of the flows and its own idle time, and a reload changes both.
func TestServicesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	service := func(flows int, idle time.Duration) frontend.Service {
		return frontend.Service{Listen: address("127.0.0.1", freePort(t)), Backends: frontend.At(s.addr()),
			Settings: &frontend.Settings{ServiceFlows: flows, IdleTimeout: idle, HarvestPool: 64}}
	}
	small, hasty := service(1, time.Hour), service(0, 2*time.Second)
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{small, hasty}})
	patient, silent, late := dialRaw(t, anyPort, small.Listen), dialRaw(t, anyPort, hasty.Listen), dialRaw(t, anyPort, small.Listen)
	established(patient, s, 1)
	established(silent, s, 2)
	late.open(randomly(3)) // no answer: the service has no room, the guard has
	eventually(t, "the silent flow of the hasty service has ended", func() bool { return g.Flows() == 1 })
	larger := small
	larger.Settings = &frontend.Settings{ServiceFlows: 2, IdleTimeout: 2 * time.Second, HarvestPool: 64}
	if done := g.reload(t, larger, hasty); len(done.Changed) != 1 || len(done.Restart) != 0 {
		t.Errorf("changes: %v", done)
	}
	eventually(t, "the patient flow has ended", func() bool { return g.Flows() == 0 })
	established(dialRaw(t, anyPort, larger.Listen), s, 4)
	established(dialRaw(t, anyPort, larger.Listen), s, 5)
}
