package plot

import (
	"fmt"
	"io"
	"slices"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Bar is a value with its spread.
type Bar struct {
	Name             string
	Value, Low, High float64
}

// Bars are horizontal bars that start at 0, one below the other.
type Bars struct {
	Title, Unit string // the message of the picture; the unit of the axis
	Bars        []Bar
}

const (
	barStep  = 20 // height of a bar and its gap
	barFrame = 50 // axis
)

// SVG draws b.
func (b *Bars) SVG(out io.Writer) error {
	p := newPlot()
	most := 0.0
	var names []string
	var values plotter.XYs
	for _, bar := range slices.Backward(b.Bars) {
		names = append(names, bar.Name)
	}
	colours := colour(names...)
	for i, bar := range slices.Backward(b.Bars) { // the first bar is on top
		at := float64(len(b.Bars) - 1 - i)
		most = max(most, bar.High, bar.Value)
		one, err := plotter.NewBarChart(plotter.Values{bar.Value}, vg.Points(barStep*0.6))
		if err != nil {
			return fmt.Errorf("draw %s: %w", bar.Name, err)
		}
		one.Horizontal, one.XMin, one.Color, one.LineStyle.Width = true, at, colours.of(bar.Name), 0
		p.Add(one)
		spread, err := plotter.NewLine(plotter.XYs{{X: bar.Low, Y: at}, {X: bar.High, Y: at}})
		if err != nil {
			return fmt.Errorf("draw %s: %w", bar.Name, err)
		}
		p.Add(spread)
		values = append(values, plotter.XY{X: max(bar.High, bar.Value), Y: at})
	}
	x := Axis{Label: b.Unit, Ticks: Ticks(most)}
	x.To = x.Ticks[len(x.Ticks)-1] * 1.12 // room for the values
	x.apply(&p.X)
	p.Y.Min, p.Y.Max = -0.6, float64(len(b.Bars))-0.4
	if len(names) > 0 {
		p.NominalY(names...)
		var texts []string
		for i := range slices.Backward(b.Bars) {
			texts = append(texts, " "+Number(b.Bars[i].Value))
		}
		labels, err := plotter.NewLabels(plotter.XYLabels{XYs: values, Labels: texts})
		if err != nil {
			return fmt.Errorf("draw values: %w", err)
		}
		for i := range labels.TextStyle {
			labels.TextStyle[i].YAlign, labels.TextStyle[i].Font.Variant = draw.YCenter, "Sans"
		}
		p.Add(labels)
	}
	return write(out, b.Title, vg.Length(barFrame+barStep*len(b.Bars)), func(d draw.Canvas) { p.Draw(d) })
}
