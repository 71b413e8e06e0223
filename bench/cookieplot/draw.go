package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
)

// The drawing, in pixels; both axes are logarithmic.
const (
	width, height            = 720, 440
	left, right, top, bottom = 60, 110, 40, 50
	bottomNS, topNS          = 10.0, 1000.0
)

// Colours that stay apart for readers who do not see red and green (Okabe and Ito).
var colours = []string{"#999999", "#0072b2", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00"}

func (r *results) x(batch float64) float64 {
	last := float64(r.batches[len(r.batches)-1])
	return left + math.Log(batch)/math.Log(max(last, 2))*(width-left-right)
}

func y(ns float64) float64 {
	ns = min(max(ns, bottomNS), topNS)
	return height - bottom - math.Log(ns/bottomNS)/math.Log(topNS/bottomNS)*(height-top-bottom)
}

func (r *results) draw(out io.Writer) {
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="white"/>
<text x="%d" y="20" font-size="14">Nanoseconds per cookie by batch size, %s</text>
<text x="%d" y="%d" text-anchor="middle">cookies in a batch</text>
`, width, height, left, html.EscapeString(r.cpu), (left+width-right)/2, height-12)
	for _, ns := range []float64{10, 20, 50, 100, 200, 500, 1000} {
		fmt.Fprintf(out, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%.0f</text>`+"\n",
			left, y(ns), width-right, left-6, y(ns)+4, ns)
	}
	for _, b := range r.batches {
		fmt.Fprintf(out, `<path d="M%.1f %dV%d" stroke="#eee"/><text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n",
			r.x(float64(b)), top, height-bottom, r.x(float64(b)), height-bottom+16, b)
	}
	std := y(median(r.std))
	fmt.Fprintf(out, `<path d="M%d %.1fH%d" stroke="black" stroke-dasharray="2 3"/>`+"\n", left, std, width-right)
	labels := []label{{std, "crypto/hmac", "black"}}
	for i, name := range r.names {
		colour := colours[i%len(colours)]
		labels = append(labels, label{r.line(out, name, colour), name, colour})
	}
	writeLabels(out, labels)
	fmt.Fprintln(out, "</svg>")
}

// line draws one implementation and returns where it ends. The measured choice is dashed, over the ones it
// chooses from.
func (r *results) line(out io.Writer, name, colour string) (end float64) {
	path, dash := "M", ""
	for _, b := range r.batches {
		if v := r.values[key{name, b}]; len(v) > 0 {
			end = y(median(v))
			path += fmt.Sprintf("%.1f %.1f ", r.x(float64(b)), end)
		}
	}
	if name == "auto" {
		dash = ` stroke-dasharray="6 4"`
	}
	fmt.Fprintf(out, `<path d="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", path, colour, dash)
	return end
}

type label struct {
	y            float64
	text, colour string
}

// writeLabels puts each label where its line ends, or as far below as the one above needs.
func writeLabels(out io.Writer, labels []label) {
	const height = 13
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(a.y, b.y) })
	free := 0.0
	for _, l := range labels {
		at := max(l.y, free)
		free = at + height
		fmt.Fprintf(out, `<text x="%d" y="%.1f" fill="%s">%s</text>`+"\n", width-right+6, at+4, l.colour, html.EscapeString(l.text))
	}
}
