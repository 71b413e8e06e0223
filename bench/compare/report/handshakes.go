package report

import (
	"slices"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// handshakes draws the share that succeeded and the p99 against the flood's rate, and for each subject how long they
// took at each rate.
func handshakes(o *result.Outcome) []*plot.Chart {
	success := &plot.Chart{Title: "Share that succeeds: " + o.Title, Y: plot.Axis{Label: "succeeded, %", To: 100, Ticks: plot.Ticks(100)}}
	waits := &plot.Chart{Title: "99th percentile of the time: " + o.Title, Y: plot.Axis{Label: "ms"}}
	most, slowest := 0.0, 0.0
	var subjects []string
	for i := range o.Handshakes {
		h := &o.Handshakes[i]
		if len(h.Disturbed) > 0 {
			continue
		}
		most, slowest = max(most, h.Offered), max(slowest, h.P99)
		add(success, h.Subject, h.Offered, 100*h.Share())
		if h.P99 > 0 { // else nobody came through
			add(waits, h.Subject, h.Offered, h.P99)
		}
		if !slices.Contains(subjects, h.Subject) {
			subjects = append(subjects, h.Subject)
		}
	}
	waits.Y.Ticks = plot.Ticks(slowest)
	waits.Y.To = waits.Y.Ticks[len(waits.Y.Ticks)-1]
	x := plot.Axis{Label: "ClientHellos of the flood per second", Ticks: plot.Ticks(most)}
	x.To = x.Ticks[len(x.Ticks)-1]
	success.X, waits.X = x, x
	all := []*plot.Chart{success, waits}
	for _, s := range subjects {
		all = append(all, handshakeTimes(o, s))
	}
	return slices.DeleteFunc(all, func(c *plot.Chart) bool { return len(c.Lines) == 0 })
}

// handshakeTimes draws the share of a subject's handshakes that took no longer, for each flood.
func handshakeTimes(o *result.Outcome, subject string) *plot.Chart {
	var curves []curve
	for i := range o.Handshakes {
		if h := &o.Handshakes[i]; h.Subject == subject && len(h.Disturbed) == 0 {
			curves = append(curves, curve{h.Flood, h.Curve, h.Share()})
		}
	}
	return distribution("Time by flood: "+subject, "ms", "of all took no longer, %", curves)
}
