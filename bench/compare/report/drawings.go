package report

import (
	"html/template"
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// drawings are those that r has figures for.
func drawings(r *result.Report) (all []template.HTML) {
	add := func(draw func(*strings.Builder)) {
		var b strings.Builder
		draw(&b)
		all = append(all, template.HTML(b.String())) //nolint:gosec // package plot escapes
	}
	for _, o := range r.Outcomes {
		switch {
		case slices.Contains([]string{"peers", "paths", "formats"}, o.Name):
			if b := answers(o); len(b.Bars) > 0 {
				add(func(s *strings.Builder) { b.SVG(s) })
			}
		case len(o.Handshakes) > 0:
			for _, c := range handshakes(o) {
				add(func(s *strings.Builder) { c.SVG(s) })
			}
		}
		for _, size := range sizes(o) {
			if c := latency(o, size); len(c.Lines) > 0 {
				add(func(s *strings.Builder) { c.SVG(s) })
			}
			if b := throughput(o, size); len(b.Bars) > 0 {
				add(func(s *strings.Builder) { b.SVG(s) })
			}
		}
	}
	return all
}

// answers draws a contest's rows.
func answers(o *result.Outcome) *plot.Bars {
	b := &plot.Bars{Title: o.Name + ": " + o.Title, Unit: "answers a second and core"}
	for i := range o.Rows {
		if r := &o.Rows[i]; r.Median > 0 {
			b.Bars = append(b.Bars, plot.Bar{Name: r.Subject, Value: r.Median, Low: r.Low, High: r.High})
		}
	}
	return b
}

// add adds a point to the line of that name.
func add(c *plot.Chart, name string, x, y float64) {
	i := slices.IndexFunc(c.Lines, func(l plot.Line) bool { return l.Name == name })
	if i < 0 {
		i = len(c.Lines)
		c.Lines = append(c.Lines, plot.Line{Name: name})
	}
	c.Lines[i].Points = append(c.Lines[i].Points, [2]float64{x, y})
}
