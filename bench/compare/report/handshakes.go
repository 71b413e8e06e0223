package report

import (
	"cmp"
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// handshakes draws the share that succeeded and the p99 against the flood's rate, and for each subject how long they
// took at each rate.
func handshakes(o *result.Outcome) []*plot.Chart {
	success := &plot.Chart{Y: plot.Axis{Label: "succeeded, %", To: 100, Ticks: plot.Ticks(100)}}
	waits := &plot.Chart{Y: plot.Axis{Label: "ms"}}
	most, slowest := 0.0, 0.0
	var subjects []string
	for i := range o.Handshakes {
		h := &o.Handshakes[i]
		if len(h.Disturbed) > 0 {
			continue
		}
		most, slowest = max(most, h.Offered), max(slowest, h.P99)
		add(success, h.Subject, h.Offered, 100*h.Share())
		if h.P99 > 0 { // otherwise no handshake succeeded
			add(waits, h.Subject, h.Offered, h.P99)
		}
		if !slices.Contains(subjects, h.Subject) {
			subjects = append(subjects, h.Subject)
		}
	}
	success.Title = "Handshakes that succeed in the largest flood: " + last(success, " %")
	waits.Title = "99th percentile of a handshake in the largest flood: " + last(waits, " ms")
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

// last lists the last value of each line, at the largest flood.
func last(c *plot.Chart, unit string) string {
	var all []string
	for _, l := range c.Lines {
		end := slices.MaxFunc(l.Points, func(a, b [2]float64) int { return cmp.Compare(a[0], b[0]) })
		all = append(all, l.Name+" "+plot.Number(end[1])+unit)
	}
	return strings.Join(all, ", ")
}

// handshakeTimes draws the distribution of a subject's handshake times, one line per flood.
func handshakeTimes(o *result.Outcome, subject string) *plot.Chart {
	var curves []curve
	for i := range o.Handshakes {
		if h := &o.Handshakes[i]; h.Subject == subject && len(h.Disturbed) == 0 {
			curves = append(curves, curve{h.Flood, h.Curve, h.Share()})
		}
	}
	ends := curves
	if len(curves) > 2 {
		ends = []curve{curves[0], curves[len(curves)-1]}
	}
	return distribution(subject+": half of the handshakes take at most "+medians(ends, " ms", "flood: "), "ms", "of all took no longer, %", curves)
}

// medians lists the medians of curves.
func medians(curves []curve, unit, what string) string {
	var all []string
	for _, c := range curves {
		if len(c.times) == len(result.CurveAt) {
			all = append(all, plot.Number(c.times[slices.Index(result.CurveAt, 0.5)])+unit+" ("+what+c.name+")")
		}
	}
	return strings.Join(all, ", ")
}
