package report

import (
	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// curve has times at the quantiles of result.CurveAt of those that finished, and their share of all.
type curve struct {
	name  string
	times []float64
	share float64
}

// distribution draws the cumulative share over a logarithmic time axis. It has no lines if no curve has
// times.
func distribution(title, unit, what string, curves []curve) *plot.Chart {
	c := &plot.Chart{Title: title, X: plot.Axis{Label: unit, Log: true}, Y: plot.Axis{Label: what, To: 100, Ticks: plot.Ticks(100)}}
	least, most := 0.0, 0.0
	for _, k := range curves {
		if len(k.times) != len(result.CurveAt) || k.times[0] <= 0 {
			continue
		}
		for q, v := range k.times {
			add(c, k.name, v, 100*k.share*result.CurveAt[q])
			most = max(most, v)
		}
		if least == 0 || k.times[0] < least {
			least = k.times[0]
		}
	}
	if len(c.Lines) > 0 {
		c.X.Ticks = plot.Decades(least, most)
		c.X.From, c.X.To = c.X.Ticks[0], c.X.Ticks[len(c.X.Ticks)-1]
	}
	return c
}
