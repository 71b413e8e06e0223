package frontend

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// record is a DTLS 1.2 record of a content type and epoch.
func record(contentType, epoch byte) []byte {
	return []byte{contentType, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, 12, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

// flowOf opens a flow for a client towards a socket that throws away what it gets.
func flowOf(t *testing.T, w *worker, client *udpbatch.Conn) *relay.Flow {
	t.Helper()
	sink, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	up, err := relay.OpenUpstream(sink.LocalAddr().(*net.UDPAddr).AddrPort(), nil)
	if err != nil {
		t.Fatal(err)
	}
	route := udpbatch.NewRoute(client.Local())
	ip := route.Peer().IP
	rank, reason := w.flows.Reserve(&ip)
	var h hello.ClientHello
	if reason != relay.Accepted || hello.Parse(hellotest.New().Bytes(), &h) != hello.OK {
		t.Fatal(reason)
	}
	f := w.flows.Open(&route, up, &h, rank, w.now)
	w.active[0].flows++
	w.active[0].backend.HandshakeStarted()
	if err := w.poller.Add(up.FD(), f.Event()); err != nil {
		t.Fatal(err)
	}
	return f
}

// Whatever a client with a flow sends, relaying it allocates nothing: half-open or established, alone or with a rival.
func TestRelayingDoesNotAllocate(t *testing.T) {
	w, client := bareWorker(t, 64, modes["trust"])
	f := flowOf(t, w, client)
	check := func(name string) {
		t.Helper()
		for _, d := range [][]byte{record(22, 0), record(22, 1), record(21, 1), record(23, 1), {0x2f, 0, 1, 0, 2, 1, 2}} {
			load(t, w, client, d, 8)
			if n := testing.AllocsPerRun(20, func() {
				w.classify()
				w.dispatch()
				w.send()
			}); n != 0 {
				t.Errorf("%s, %x: %v allocations for 8 datagrams", name, d[:5], n)
			}
		}
	}
	w.flows.FromServer(f, record(22, 0), w.now)
	check("half-open")
	w.flows.FromServer(f, record(22, 1), w.now)
	if f.State != relay.Established {
		t.Fatalf("the flow is %v", f.State)
	}
	check("established")
	rival := flowOf(t, w, client)
	if f.Rival() != rival {
		t.Fatal("the second flow is not a rival")
	}
	check("with a rival")
}

// --max-flows above what there are ports for, towards a server on another host, is lowered and said.
func TestMaxFlowsFollowsPorts(t *testing.T) {
	for address, want := range map[string]bool{"192.0.2.1:4433": true, "127.0.0.1:4433": false} {
		var log strings.Builder
		c := Config{MaxFlows: 1 << 20, Log: slog.New(slog.NewTextHandler(&log, nil)),
			Services: []Service{{Backends: At(netip.MustParseAddrPort(address))}}}
		s := &Server{config: c, budget: relay.NewBudget(c.limits())}
		s.clampFlows(0)
		got := s.budget.Limits().Flows
		if lowered := got <= relay.PortsMost(); want && !lowered {
			t.Errorf("%s: %d flows, more than %d ports", address, got, relay.PortsMost())
		}
		if files := strings.Contains(log.String(), "open files"); !files && got != 1<<20 && !strings.Contains(log.String(), "ephemeral port") {
			t.Errorf("%s: %d flows, and nobody says why: %s", address, got, log.String())
		}
	}
}

// Inherited sockets of flows do not lower --max-flows: its flows are those.
func TestMaxFlowsWithInheritedSockets(t *testing.T) {
	most := func(inherited int) int {
		c := Config{MaxFlows: 1 << 20, Log: slog.New(slog.DiscardHandler), Services: []Service{{Backends: At(netip.MustParseAddrPort("127.0.0.1:4433"))}}}
		s := &Server{config: c, budget: relay.NewBudget(c.limits())}
		s.clampFlows(inherited)
		return s.budget.Limits().Flows
	}
	limit, err := mostFiles()
	if err != nil || limit > 1<<20 {
		t.Skip("open files are not the limit here")
	}
	if without, with := most(0), most(5); with != without+5 {
		t.Errorf("%d flows with five inherited sockets, %d without", with, without)
	}
}

// The programs and the workers limit the flows of a prefix by the same factor.
func TestPrefixFactorsAgree(t *testing.T) {
	if bpf.PrefixFactor != relay.PrefixFactor {
		t.Errorf("a prefix has %d times a source's flows in XDP, %d times in workers", bpf.PrefixFactor, relay.PrefixFactor)
	}
}
