package frontend

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// fillTable opens n half-open flows of a worker, which share a socket.
func fillTable(t *testing.T, w *worker, client *udpbatch.Conn, n int) {
	t.Helper()
	const share = 4 // a quarter of all may be half-open
	w.service.budget.SetLimits(relay.Limits{Flows: share * n})
	w.service.room.SetMax(share * n)
	up := relay.KeepUpstream(client, nil)
	var h hello.ClientHello
	if r := hello.Parse(hellotest.New().Bytes(), &h); r != hello.OK {
		t.Fatal(r)
	}
	for i := range n {
		route := udpbatch.NewRoute(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 4433))
		ip := route.Peer().IP
		rank, reason := w.flows.Reserve(&ip)
		if reason != relay.Accepted {
			t.Fatal(reason)
		}
		w.flows.Open(&route, up, &h, rank, w.now)
	}
}

// 65 536 flows are listed whole, none twice, and the worker never stops serving clients for more than a page of them.
func TestListOfManyFlows(t *testing.T) {
	const n = 1 << 16
	w, client := bareWorker(t, 64, nil)
	fillTable(t, w, client, n)
	s := &Server{services: []*service{w.service}}
	w.service.workers = []*worker{w}
	pages := 0
	done := make(chan struct{})
	go func() {
		for {
			select {
			case f := <-w.requests.queue:
				pages++
				f()
			case <-done:
				return
			}
		}
	}()
	web := httptest.NewServer(http.HandlerFunc(s.serveFlows))
	defer web.Close()
	began := time.Now()
	resp, err := web.Client().Get(web.URL) //nolint:noctx // of this process
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	seen, size := make(map[netip.AddrPort]bool, n), 0
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var f Flow
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			t.Fatal(err)
		}
		if seen[f.Client] {
			t.Fatalf("%v is listed twice", f.Client)
		}
		seen[f.Client] = true
		size += len(lines.Bytes()) + 1
	}
	close(done)
	if err := lines.Err(); err != nil || len(seen) != n {
		t.Fatalf("%d flows, %v", len(seen), err)
	}
	if want := n / flowPage; pages != want {
		t.Errorf("the worker was asked %d times, want %d", pages, want)
	}
	t.Logf("%d flows, %d kB of JSON, in %v", n, size/1000, time.Since(began).Round(time.Millisecond))
}

// TestCalled: a service is called by its name, its address, and the address as it may be written in the configuration.
func TestCalled(t *testing.T) {
	for _, c := range []struct {
		name, listen, asked string
		want                bool
	}{
		{"turn", "[::]:4433", "turn", true},
		{"turn", "[::]:4433", "[::]:4433", true},
		{"turn", "[::]:4433", ":4433", true},
		{"turn", "0.0.0.0:4433", ":4433", true},
		{"turn", "127.0.0.1:4433", ":4433", false},
		{"turn", "[::]:4433", ":443", false},
		{"[::]:4433", "[::]:4433", "coap", false},
	} {
		if got := called(c.name, netip.MustParseAddrPort(c.listen), c.asked); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
