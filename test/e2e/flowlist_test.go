package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// listed returns all flows that f matches.
func (g *guard) listed(t *testing.T, f frontend.FlowFilter) (all []frontend.Flow) {
	t.Helper()
	if err := g.EachFlow(t.Context(), f, func(flow *frontend.Flow) error { all = append(all, *flow); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// of parses a filter.
func of(t *testing.T, s string) (f frontend.FlowFilter) {
	t.Helper()
	if err := f.ParseClients(s); err != nil {
		t.Fatal(err)
	}
	return f
}

// A flow is listed with the address and port that the server's log shows, and with what it carried.
func TestFlowsAreListed(t *testing.T) {
	t.Parallel()
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr())
	r := dialRaw(t, anyPort, g.addr)
	upstream := established(r, s, 1)
	data := record(23, 1, "twelve bytes")
	r.send(data)
	s.next(t)
	all := g.listed(t, frontend.FlowFilter{})
	if len(all) != 1 {
		t.Fatalf("%d flows, want 1: %v", len(all), all)
	}
	f := all[0]
	if f.Client != r.addr() || f.Upstream != upstream || f.Server != s.addr() || f.State != "established" || f.Service != g.addr.String() {
		t.Errorf("listed as %+v, want client %v, upstream %v, server %v", f, r.addr(), upstream, s.addr())
	}
	if *f.Age < f.Idle || f.Idle < 0 {
		t.Errorf("age %v, idle %v", *f.Age, f.Idle)
	}
	// From the client: ClientHello, last flight, data; from the server: two flights.
	if f.ToServer.Packets != 3 || f.ToClient.Packets != 2 || f.ToServer.Bytes < uint64(len(data)) || f.ToClient.Bytes < uint64(len(serverHello)) {
		t.Errorf("carried %+v and %+v", f.ToServer, f.ToClient)
	}
	if n := len(g.listed(t, of(t, "192.0.2.0/24"))); n != 0 {
		t.Errorf("%d flows of another prefix", n)
	}
	if err := g.EachFlow(t.Context(), frontend.FlowFilter{Service: "nobody"}, nil); err == nil || !strings.Contains(err.Error(), `no service "nobody"`) {
		t.Errorf("an unknown service: %v", err)
	}
}

// With more flows than a worker copies at once, each is listed once; those selected end, and the others live.
func TestFlowsAreKilled(t *testing.T) {
	t.Parallel()
	const clients = 300
	s := startBackend(t, anyPort, byAddress)
	g := startGuard(t, s.addr(), func(c *frontend.Config) { c.Workers, c.HarvestPool, c.HandshakeTimeout = 1, 8*clients, time.Hour }) // a quarter may be half-open
	var want []netip.AddrPort
	var last *raw
	for range clients {
		last = dialRaw(t, anyPort, g.addr)
		opened(last, s, 1)
		want = append(want, last.addr())
	}
	var got []netip.AddrPort
	for _, f := range g.listed(t, frontend.FlowFilter{}) {
		got = append(got, f.Client)
	}
	slices.SortFunc(want, netip.AddrPort.Compare)
	slices.SortFunc(got, netip.AddrPort.Compare)
	if !slices.Equal(got, want) {
		t.Fatalf("%d clients are listed, want %d, each once", len(got), len(want))
	}
	kill := func(f frontend.FlowFilter, want int) {
		t.Helper()
		if n, err := g.EndFlows(t.Context(), f); err != nil || n != want {
			t.Fatalf("%d flows ended (%v), want %d", n, err, want)
		}
	}
	kill(of(t, last.addr().String()), 1)
	kill(of(t, last.addr().String()), 0)
	last.send(record(23, 1, "of no flow"))
	kill(of(t, "127.0.0.0/8"), clients-1)
	if n := g.Flows(); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	g.waitCount(t, metrics.Killed, clients)
	opened(last, s, 2) // the client may return at once
}
