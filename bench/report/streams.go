package report

import (
	"fmt"
	"slices"

	"github.com/dtlsguard/dtlsguard/bench/plot"
	"github.com/dtlsguard/dtlsguard/bench/result"
)

// sizes are those of an outcome's streams.
func sizes(o *result.Outcome) (all []int) {
	for i := range o.Streams {
		if s := o.Streams[i].Size; !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// latency draws the share of round trips that took no longer, for one size.
func latency(o *result.Outcome, size int) *plot.Chart {
	c := &plot.Chart{
		Title: fmt.Sprintf("Latency of a round trip of %d bytes on established flows", size),
		X:     plot.Axis{Label: "us", Log: true}, Y: plot.Axis{Label: "round trips that took no longer, %", To: 100, Ticks: plot.Ticks(100)},
	}
	least, most := 0.0, 0.0
	for i := range o.Streams {
		s := &o.Streams[i]
		if s.Size != size || len(s.Curve) != len(result.CurveAt) || s.Curve[0] <= 0 {
			continue
		}
		for q, v := range s.Curve {
			add(c, s.Subject, v, 100*result.CurveAt[q])
			most = max(most, v)
		}
		if least == 0 || s.Curve[0] < least {
			least = s.Curve[0]
		}
	}
	if len(c.Lines) > 0 {
		c.X.Ticks = plot.Decades(least, most)
		c.X.From, c.X.To = c.X.Ticks[0], c.X.Ticks[len(c.X.Ticks)-1]
	}
	return c
}

// throughput draws round trips a second of CPU time, for one size.
func throughput(o *result.Outcome, size int) *plot.Bars {
	b := &plot.Bars{Title: fmt.Sprintf("Round trips of %d bytes on established flows", size), Unit: "round trips a second of CPU time"}
	for i := range o.Streams {
		if s := &o.Streams[i]; s.Size == size && s.PerCore.Median > 0 {
			b.Bars = append(b.Bars, plot.Bar{Name: s.Subject, Value: s.PerCore.Median, Low: s.PerCore.Low, High: s.PerCore.High})
		}
	}
	return b
}
