package main

import (
	"strings"
	"testing"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend"
)

func TestHistoryIsAMinute(t *testing.T) {
	var h history
	at := time.Unix(0, 0)
	of := func(n uint64) *sample {
		at = at.Add(time.Second)
		return &sample{at: at, Status: frontend.Status{Received: 2 * n, Services: []frontend.ServiceStatus{
			{Clients: map[string]uint64{"answered": n, "answered/wrong-cookie": 0, "dropped/unverified": n / 2, "verified": 1, "relayed": 5}}}}}
	}
	was := of(0)
	for i := range uint64(70) {
		now := of((i + 1) * 100)
		h.add(was, now)
		was = now
	}
	h.add(was, of(0)) // a service is gone
	var b strings.Builder
	h.draw(&b)
	lines := strings.Split(b.String(), "\n")
	if len(h.lines[0]) != historyLength {
		t.Errorf("%d values, want %d", len(h.lines[0]), historyLength)
	}
	for i, want := range []string{"received\t0/s\tpeak 200/s\t", "answered\t0/s\tpeak 100/s\t", "dropped\t0/s\tpeak 50/s\t", "verified\t0/s\tpeak 0/s\t"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("%q, want %q", lines[i], want)
		}
	}
	if got := sparkline([]float64{0, 1, 4, 8}, 8); got != "▁▂▅█" {
		t.Errorf("drawn as %q", got)
	}
}
