package plot

import (
	"fmt"
	"io"

	gonum "gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Axis is an axis from From to To; values beyond are drawn at its end.
type Axis struct {
	Label    string
	From, To float64
	Log      bool
	Ticks    []float64
}

// clamp returns v, or the end of the axis if v is beyond it.
func (a *Axis) clamp(v float64) float64 { return min(max(v, a.From), a.To) }

// apply configures an axis of a drawing.
func (a *Axis) apply(to *gonum.Axis) {
	to.Label.Text, to.Min, to.Max = a.Label, a.From, a.To
	if a.Log {
		to.Scale = gonum.LogScale{}
	}
	var ticks gonum.ConstantTicks
	for _, v := range a.Ticks {
		ticks = append(ticks, gonum.Tick{Value: v, Label: Number(v)})
	}
	to.Tick.Marker = ticks
}

// Line is a polyline through its points. Its name, shown in the legend, determines its colour.
type Line struct {
	Name   string
	Points [][2]float64
	Dashed bool
	Level  bool // a single value: drawn through the whole width, at the first point's height, black
}

// Chart has lines over two axes.
type Chart struct {
	Title string // the message of the picture
	X, Y  Axis
	Lines []Line
}

// Size of the drawing in points, and the part of its width for the legend, which is beside the lines and so hides none.
const (
	width, height = 640, 330
	legendWidth   = 210
)

// SVG draws c.
func (c *Chart) SVG(out io.Writer) error {
	p, legend := newPlot(), gonum.NewLegend()
	legend.TextStyle, legend.Padding = p.Legend.TextStyle, vg.Points(3)
	c.X.apply(&p.X)
	c.Y.apply(&p.Y)
	p.Add(plotter.NewGrid())
	var names []string
	for i := range c.Lines {
		names = append(names, c.Lines[i].Name)
	}
	colours := colour(names...)
	for i := range c.Lines {
		l := &c.Lines[i]
		if len(l.Points) == 0 {
			continue
		}
		line, err := plotter.NewLine(c.points(l))
		if err != nil {
			return fmt.Errorf("draw %s: %w", l.Name, err)
		}
		line.Color, line.Width = colours.of(l.Name), vg.Points(1.6)
		switch {
		case l.Level:
			line.Color, line.Dashes = black, []vg.Length{vg.Points(2), vg.Points(3)}
		case l.Dashed:
			line.Dashes = []vg.Length{vg.Points(6), vg.Points(4)}
		}
		p.Add(line)
		legend.Add(l.Name, line)
	}
	legend.Top = true
	return write(out, c.Title, height, func(d draw.Canvas) {
		p.Draw(draw.Crop(d, 0, -legendWidth, 0, 0))
		legend.Left = true
		legend.Draw(draw.Crop(d, width-legendWidth+8, 0, 0, -30))
	})
}

// points returns the points of a line, clamped to the axes.
func (c *Chart) points(l *Line) (all plotter.XYs) {
	if l.Level {
		y := c.Y.clamp(l.Points[0][1])
		return plotter.XYs{{X: c.X.From, Y: y}, {X: c.X.To, Y: y}}
	}
	for _, p := range l.Points {
		all = append(all, plotter.XY{X: c.X.clamp(p[0]), Y: c.Y.clamp(p[1])})
	}
	return all
}
