package cookies

import (
	"fmt"
	"io"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
)

// draw draws the medians; both axes are logarithmic.
func (r *results) draw(out io.Writer) error {
	c := plot.Chart{
		Title: r.message(),
		X:     plot.Axis{Label: "cookies in a batch", From: 1, To: max(2, float64(r.batches[len(r.batches)-1])), Log: true},
		Y:     plot.Axis{Label: "ns per cookie", From: 10, To: 1000, Log: true, Ticks: plot.Decades(10, 1000)},
	}
	for _, b := range r.batches {
		c.X.Ticks = append(c.X.Ticks, float64(b))
	}
	for _, name := range r.names {
		// The measured choice is dashed, over the ones it chooses from.
		l := plot.Line{Name: name, Dashed: name == "auto"}
		for _, b := range r.batches {
			if v := r.values[key{name, b}]; len(v) > 0 {
				l.Points = append(l.Points, [2]float64{float64(b), median(v)})
			}
		}
		c.Lines = append(c.Lines, l)
	}
	c.Lines = append(c.Lines, plot.Line{Name: "crypto/hmac", Points: [][2]float64{{1, median(r.std)}}, Level: true})
	return c.SVG(out)
}

// message is the title: what a full batch saves.
func (r *results) message() string {
	first, last := r.values[key{"auto", r.batches[0]}], r.values[key{"auto", r.batches[len(r.batches)-1]}]
	if len(first) == 0 || len(last) == 0 {
		return fmt.Sprintf("Nanoseconds per cookie by batch size, %s", r.cpu)
	}
	return fmt.Sprintf("A cookie takes %s ns in a batch of %d, %s ns alone: %s", plot.Number(median(last)), r.batches[len(r.batches)-1], plot.Number(median(first)), r.cpu)
}
