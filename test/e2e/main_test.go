package e2e

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	testguard "github.com/dtlsguard/dtlsguard/bench/testkit/guard"

	"github.com/dtlsguard/dtlsguard/bench/testkit/await"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

const patience = await.Patience

// hosts are the loopback addresses of both families.
var hosts = []string{"127.0.0.1", "::1"}

// need skips the test where a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	await.Need(t, "openssl gnutls-bin libssl-dev gcc", programs...)
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	await.Eventually(t, what, done)
}

func freePort(t *testing.T) uint16 { t.Helper(); return await.FreePort(t) }

func address(host string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), port)
}

// guard is a running frontend.Server with one service.
type guard struct {
	*frontend.Server
	addr netip.AddrPort
	stop func() // waits until it has stopped
}

// startGuard starts a guard in front of backend, on the same loopback address. It has no limits per source, since all
// clients of a test are one source, and a small pool.
func startGuard(t *testing.T, backend netip.AddrPort, change ...func(*frontend.Config)) *guard {
	t.Helper()
	c := frontend.Config{
		Services: []frontend.Service{{Listen: netip.AddrPortFrom(backend.Addr(), 0), Backends: frontend.At(backend)}},
		Settings: frontend.Settings{HelloRate: limit.Rate{PerSecond: -1}, HarvestPool: 256}, Workers: 2,
		FlowsPerSource: -1, HalfOpenPerSource: -1,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := frontend.New(c)
	if err != nil {
		t.Fatal(err)
	}
	stop := testguard.Run(t, s)
	g := &guard{Server: s, addr: s.Listening()[0], stop: func() { defer await.Unshared()(); stop() }}
	// A server that keeps who asks, and is slow to answer, is asked for half a minute on a busy machine, and then once more.
	await.Within(t, 3*patience, "the guard is ready", func() bool { return s.Ready() == nil })
	return g
}

// refusal runs a guard until it reports why it cannot use its back end.
func refusal(t *testing.T, c frontend.Config) (why string) {
	t.Helper()
	s, err := frontend.New(c)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() { cancel(); <-done }()
	const unasked = "it has not answered yet"
	eventually(t, "the guard has asked its back end", func() bool {
		st := s.Status().Services[0]
		why = strings.Join(st.Reasons, ", ")
		return st.Ready || why != "" && !strings.Contains(why, unasked)
	})
	return why
}

// count is the number of events e so far.
func (g *guard) count(e metrics.Event) uint64 { return g.Totals().Events[e] }

// waitCount waits until e happened n times.
func (g *guard) waitCount(t *testing.T, e metrics.Event, n uint64) {
	t.Helper()
	l := metrics.Labels[e]
	eventually(t, l.Stage+" "+l.Outcome+" "+l.Reason, func() bool { return g.count(e) >= n })
}

// clientSum is the sum of the client stage's outcomes, which must be the number of datagrams received.
func clientSum(t *metrics.Totals) (sum uint64) {
	for e, n := range t.Events {
		if metrics.Labels[e].Stage == "client" {
			sum += n
		}
	}
	return sum
}
