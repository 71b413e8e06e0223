package report

import (
	"strings"
	"testing"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// The page of a stored run has its drawings and tables, and refers to nothing outside.
func TestPageOfAStoredRun(t *testing.T) {
	r, err := result.Load("../../results/2026-11-26-intel-xeon-2cpu.json")
	if err != nil {
		t.Fatal(err)
	}
	curve := make([]float64, len(result.CurveAt))
	for i := range curve {
		curve[i] = float64(100 + i)
	}
	r.Outcomes = append(r.Outcomes, &result.Outcome{Name: "streams", Streams: []result.Stream{
		{Subject: "<a>", Size: 100, Valid: 1, Rounds: 1, PerCore: result.Spread{Median: 1, Low: 1, High: 1}, Curve: curve}, {Subject: "b", Size: 100, Skipped: "why & how"},
	}})
	flooded := result.Handshakes{Subject: "guard", Flood: "much", Offered: 1e6, Tried: 2}
	flooded.Sum([]float64{3})
	disturbed := result.Handshakes{Subject: "nobody's", Flood: "much", Tried: 2, Disturbed: []string{"stolen"}}
	r.Outcomes = append(r.Outcomes, &result.Outcome{Name: "more", Handshakes: []result.Handshakes{flooded, disturbed}})
	var page strings.Builder
	if err := Write(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"OpenSSL DTLSv1_listen", "Handshakes that succeed in the largest flood: dtlsguard", "Half of the round trips of 100 bytes take at most 107 us (&lt;a&gt;)", "&lt;a&gt;", "why &amp; how", "PROJECTION", "guard: half of the handshakes take at most 3 ms (flood: much)"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q", want)
		}
	}
	if n := strings.Count(page.String(), "<svg "); n != 16 { // the 11 of the stored run, and 5 of the outcome added here
		t.Errorf("%d drawings", n)
	}
	for _, bad := range []string{"<script", "<link", "<img", " src=", "@import", "<a>"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
}
