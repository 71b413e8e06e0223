package report

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
	"github.com/dtlsguard/dtlsguard/bench/compare/result"
)

// drawings returns the drawings of all figures in r.
func drawings(r *result.Report) (all []template.HTML, err error) {
	add := func(d interface{ SVG(io.Writer) error }) {
		var b strings.Builder
		if e := d.SVG(&b); e != nil {
			err = errors.Join(err, e)
			return
		}
		all = append(all, template.HTML(b.String())) //nolint:gosec // the SVG is escaped where it is written
	}
	for _, o := range r.Outcomes {
		switch {
		case slices.Contains([]string{"peers", "paths", "formats"}, o.Name):
			if b := answers(o); len(b.Bars) > 0 {
				add(b)
			}
		case len(o.Handshakes) > 0:
			for _, c := range handshakes(o) {
				add(c)
			}
		}
		for _, size := range sizes(o) {
			if c := latency(o, size); len(c.Lines) > 0 {
				add(c)
			}
			if b := throughput(o, size); len(b.Bars) > 0 {
				add(b)
			}
		}
	}
	return all, err
}

// answers draws the rows of a comparison.
func answers(o *result.Outcome) *plot.Bars {
	b := &plot.Bars{Unit: "answers per second and core"}
	for i := range o.Rows {
		if r := &o.Rows[i]; r.Median > 0 {
			b.Bars = append(b.Bars, plot.Bar{Name: r.Subject, Value: r.Median, Low: r.Low, High: r.High})
		}
	}
	b.Title = message(b, "answers")
	return b
}

// message is the title of bars: the ratio of the first to the second.
func message(b *plot.Bars, what string) string {
	if len(b.Bars) < 2 {
		return b.Unit
	}
	first, second := b.Bars[0], b.Bars[1]
	if share := first.Value / second.Value; share > 0.95 && share < 1.05 {
		return fmt.Sprintf("%s: %s %s per second, as many as %s", first.Name, plot.Number(first.Value), what, second.Name)
	}
	return fmt.Sprintf("%s: %s %s per second, %.2g times %s", first.Name, plot.Number(first.Value), what, first.Value/second.Value, second.Name)
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
