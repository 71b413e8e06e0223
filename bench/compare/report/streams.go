package report

import (
	"fmt"
	"slices"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// sizes returns the datagram sizes of an outcome's streams.
func sizes(o *result.Outcome) (all []int) {
	for i := range o.Streams {
		if s := o.Streams[i].Size; !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// latency draws the distribution of round trip times for one size.
func latency(o *result.Outcome, size int) *plot.Chart {
	var curves []curve
	for i := range o.Streams {
		if s := &o.Streams[i]; s.Size == size {
			curves = append(curves, curve{s.Subject, s.Curve, 1})
		}
	}
	title := fmt.Sprintf("Half of the round trips of %d bytes take at most ", size)
	return distribution(title+medians(curves, " us", ""), "us", "round trips that took no longer, %", curves)
}

// throughput draws round trips per second of CPU time, for one size.
func throughput(o *result.Outcome, size int) *plot.Bars {
	b := &plot.Bars{Unit: "round trips per second of CPU time"}
	for i := range o.Streams {
		if s := &o.Streams[i]; s.Size == size && s.PerCore.Median > 0 {
			b.Bars = append(b.Bars, plot.Bar{Name: s.Subject, Value: s.PerCore.Median, Low: s.PerCore.Low, High: s.PerCore.High})
		}
	}
	b.Title = fmt.Sprintf("%d bytes: ", size) + message(b, "round trips")
	return b
}
