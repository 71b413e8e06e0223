package plot

import (
	"fmt"
	"html"
	"io"
)

// Bar is a value with its spread.
type Bar struct {
	Name             string
	Value, Low, High float64
}

// Bars are horizontal bars from 0, one below the other.
type Bars struct {
	Title, Unit string
	Bars        []Bar
}

const (
	barLeft   = 230 // room for names
	barRight  = 90  // for values
	barHeight = 26
)

// SVG draws b.
func (b *Bars) SVG(out io.Writer) {
	most := 0.0
	for _, bar := range b.Bars {
		most = max(most, bar.High, bar.Value)
	}
	axis := Axis{Ticks: Ticks(most)}
	axis.To = axis.Ticks[len(axis.Ticks)-1]
	x := func(v float64) float64 { return barLeft + axis.at(v)*(width-barLeft-barRight) }
	foot := top + barHeight*len(b.Bars)
	begin(out, foot+bottom, b.Title)
	for _, v := range axis.Ticks {
		fmt.Fprintf(out, `<path d="M%.1f %dV%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			x(v), top, foot, x(v), foot+16, number(v))
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (barLeft+width-barRight)/2, foot+34, html.EscapeString(b.Unit))
	for i, bar := range b.Bars {
		y := top + barHeight*i
		middle := y + barHeight/2
		fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end">%s</text>`, barLeft-8, middle+4, html.EscapeString(bar.Name))
		fmt.Fprintf(out, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, barLeft, y+4, x(bar.Value)-barLeft, barHeight-8, colours[2])
		fmt.Fprintf(out, `<path d="M%.1f %dH%.1f" stroke="black"/>`, x(bar.Low), middle, x(bar.High))
		fmt.Fprintf(out, `<text x="%.1f" y="%d">%.3g</text>`+"\n", max(x(bar.High), x(bar.Value))+6, middle+4, bar.Value)
	}
	fmt.Fprintln(out, "</svg>")
}
