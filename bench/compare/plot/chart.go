package plot

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"slices"
)

// Line is a polyline through its points, with its name at its end.
type Line struct {
	Name   string
	Points [][2]float64
	Dashed bool
	Level  bool // a single value: drawn through the whole width, at the first point's height, black
}

// Chart has lines over two axes.
type Chart struct {
	Title string
	X, Y  Axis
	Lines []Line
}

// The drawing, in pixels.
const (
	width, height            = 720, 440
	left, right, top, bottom = 60, 180, 40, 50
	labelHeight              = 13
)

// Colours that stay apart for readers who do not see red and green (Okabe and Ito).
var colours = []string{"#999999", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00"}

func (c *Chart) x(v float64) float64 { return left + c.X.at(v)*(width-left-right) }
func (c *Chart) y(v float64) float64 { return height - bottom - c.Y.at(v)*(height-top-bottom) }

// SVG draws c.
func (c *Chart) SVG(out io.Writer) {
	begin(out, height, c.Title)
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (left+width-right)/2, height-12, html.EscapeString(c.X.Label))
	fmt.Fprintf(out, `<text transform="translate(14 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, html.EscapeString(c.Y.Label))
	for _, v := range c.Y.Ticks {
		fmt.Fprintf(out, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, c.y(v), width-right, left-6, c.y(v)+4, number(v))
	}
	for _, v := range c.X.Ticks {
		fmt.Fprintf(out, `<path d="M%.1f %dV%d" stroke="#eee"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			c.x(v), top, height-bottom, c.x(v), height-bottom+16, number(v))
	}
	var labels []label
	for i := range c.Lines {
		if len(c.Lines[i].Points) > 0 {
			labels = append(labels, c.line(out, &c.Lines[i], colours[i%len(colours)]))
		}
	}
	writeLabels(out, labels)
	fmt.Fprintln(out, "</svg>")
}

// line draws one and returns its label.
func (c *Chart) line(out io.Writer, l *Line, colour string) label {
	last := l.Points[len(l.Points)-1]
	if l.Level {
		fmt.Fprintf(out, `<path d="M%d %.1fH%d" stroke="black" stroke-dasharray="2 3"/>`+"\n", left, c.y(last[1]), width-right)
		return label{c.y(last[1]), l.Name, "black"}
	}
	path, dash := "M", ""
	for _, p := range l.Points {
		path += fmt.Sprintf("%.1f %.1f ", c.x(p[0]), c.y(p[1]))
	}
	if l.Dashed {
		dash = ` stroke-dasharray="6 4"`
	}
	fmt.Fprintf(out, `<path d="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", path, colour, dash)
	return label{c.y(last[1]), l.Name, colour}
}

// begin writes what every drawing begins with.
func begin(out io.Writer, height int, title string) {
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="%d" y="20" font-size="14">%s</text>
`, width, height, left, html.EscapeString(title))
}

type label struct {
	y            float64
	text, colour string
}

// writeLabels puts each label where its line ends, or as far below as the one above needs; all move up where
// the lowest would be outside.
func writeLabels(out io.Writer, labels []label) {
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	free := 0.0
	for i := range labels {
		labels[i].y = max(labels[i].y, free)
		free = labels[i].y + labelHeight
	}
	limit := float64(height - bottom)
	for i := len(labels) - 1; i >= 0; i-- {
		l := &labels[i]
		l.y = min(l.y, limit)
		limit = l.y - labelHeight
		fmt.Fprintf(out, `<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", width-right+6, l.y+4, l.colour, html.EscapeString(l.text))
	}
}
