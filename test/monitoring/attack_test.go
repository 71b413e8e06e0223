package monitoring

import (
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/testkit/hellotest"
	"github.com/dtlsguard/dtlsguard/frontend"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/events"
)

// flood sends ClientHellos without a cookie from addresses of 127.0.0.0/8, until the returned function is called.
func flood(t *testing.T, to netip.AddrPort, from ...string) (stop func()) {
	t.Helper()
	d := hellotest.Captured()[0].Datagram
	end := make(chan struct{})
	var sockets []*net.UDPConn
	for _, addr := range from {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr+":0")), net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		sockets = append(sockets, c)
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		pause := time.NewTicker(time.Millisecond)
		defer pause.Stop()
		for {
			select {
			case <-end:
				return
			case <-pause.C:
			}
			for i := range 4 * len(sockets) { // an equal share of each
				_, _ = sockets[i%len(sockets)].Write(d) // an overrun socket drops datagrams: so be it in a flood
			}
		}
	})
	stop = sync.OnceFunc(func() { close(end); sender.Wait() })
	t.Cleanup(stop)
	return stop
}

// wait waits for an event of a kind and returns its fields.
func wait(t *testing.T, s *frontend.Server, k events.Kind) map[string]any {
	t.Helper()
	var found map[string]any
	eventually(t, "event "+k.String(), func() bool {
		list, _, _ := s.Events().After(0)
		for _, e := range list {
			if e.Kind == k {
				text, err := json.Marshal(e)
				if err != nil || json.Unmarshal(text, &found) != nil {
					t.Fatal(string(text), err)
				}
				return true
			}
		}
		return false
	})
	return found
}

// The begin and end of a flood are reported with its sources; the other service is not affected.
func TestFloodIsToldOf(t *testing.T) {
	s, web := run(t, func(c *frontend.Config) { c.AttackRate, c.AttackQuiet = 100, 2*time.Second })
	stop := flood(t, s.Listening()[0], "127.7.7.1", "127.7.7.2", "127.7.7.3", "127.8.8.1")
	started := wait(t, s, events.AttackStarted)
	if started["service"] != "one" || started["rate"].(float64) < 100 || started["threshold"] != 100.0 {
		t.Errorf("%v", started)
	}
	text := scrape(t, web, "text/plain")
	for _, want := range []string{`dtlsguard_attack_active{service="one"} 1`, `dtlsguard_attack_active{service="two"} 0`, `dtlsguard_events_total{event="attack-started"} 1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	const enough = 20_000 // one datagram in 64 is sampled
	before := s.Totals().Received
	eventually(t, "the flood goes on", func() bool { return s.Totals().Received-before >= max(enough, before) })
	stop()
	ended := wait(t, s, events.AttackEnded)
	var top attack.Prefixes
	again, err := json.Marshal(ended["prefixes"])
	if err == nil {
		err = json.Unmarshal(again, (*[]attack.Prefix)(&top))
	}
	if err != nil || len(top) != 2 || top[0].Prefix != netip.MustParsePrefix("127.7.7.0/24") || top[1].Prefix != netip.MustParsePrefix("127.8.8.0/24") {
		t.Fatalf("%v, %v", ended, err)
	}
	total := ended["total"].(float64)
	totals := s.Totals()
	if sent := float64(totals.Received + totals.Overruns); total < sent/2 || total > sent {
		t.Errorf("%v datagrams of an attack, of %v in all", total, sent)
	}
	if share := top[0].Share; share < 0.6 || share > 0.9 {
		t.Errorf("three of four senders have a share of %.2f", share)
	}
}
