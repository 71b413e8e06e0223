package e2e

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

// TestHundredServices: a hundred services of one guard start together and are all served; a reload that adds one and removes
// one affects no other.
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
	small, hasty := service(1, time.Hour), service(0, time.Hour)
	g := startReloadable(t, frontend.Config{Services: []frontend.Service{small, hasty}})
	patient, silent := dialRaw(t, anyPort, small.Listen), dialRaw(t, anyPort, hasty.Listen)
	established(patient, s, 1)
	established(silent, s, 2)
	dialRaw(t, anyPort, small.Listen).open(randomly(3))
	eventually(t, "the service's flows are used up, though not the guard's", func() bool {
		return slices.ContainsFunc(g.Status().Services, func(v frontend.ServiceStatus) bool { return v.Clients["dropped/pool"] > 0 })
	})
	small.Settings = &frontend.Settings{ServiceFlows: 2, IdleTimeout: time.Hour, HarvestPool: 64}
	hasty.Settings = &frontend.Settings{IdleTimeout: time.Second, HarvestPool: 64} // short for all: handshakes would have to be as fast
	if done := g.reload(t, small, hasty); len(done.Changed) != 2 || len(done.Restart) != 0 {
		t.Errorf("changes: %v", done)
	}
	eventually(t, "the silent flow has ended", func() bool { return g.Flows() == 1 })
	patient.send(record(23, 1, "still here"))
	s.next(t)
	established(dialRaw(t, anyPort, small.Listen), s, 4)
}
