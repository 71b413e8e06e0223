package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// wellFormed fails the test if svg is no XML.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
	}
}

func TestChart(t *testing.T) {
	c := Chart{
		Title: "a <b> & c", X: Axis{From: 1, To: 100, Log: true, Ticks: []float64{1, 10, 100}}, Y: Axis{To: 10, Ticks: Ticks(10)},
		Lines: []Line{
			{Name: "<first>", Points: [][2]float64{{1, 0}, {10, 5}, {1000, 50}}},
			{Name: "level", Points: [][2]float64{{0, 5}}, Level: true}, {Name: "empty"},
		},
	}
	var b strings.Builder
	c.SVG(&b)
	wellFormed(t, b.String())
	// The first point is in the corner, the last at the end of both axes although it is beyond.
	for _, want := range []string{"M60.0 390.0 300.0 215.0 540.0 40.0", "&lt;first&gt;", ">level</text>", "a &lt;b&gt; &amp; c"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "empty") {
		t.Error("a line without points has a label")
	}
}

func TestBars(t *testing.T) {
	b := Bars{Title: "t", Unit: "u", Bars: []Bar{{"a&b", 1, 0.5, 2}, {"c", 4, 3, 5}}}
	var out strings.Builder
	b.SVG(&out)
	wellFormed(t, out.String())
	if n := strings.Count(out.String(), "<rect x="); n != 2 {
		t.Errorf("%d bars", n)
	}
	var none strings.Builder
	(&Bars{}).SVG(&none)
	wellFormed(t, none.String())
}

func TestTicks(t *testing.T) {
	for most, want := range map[float64][]float64{
		1: {0, 0.2, 0.4, 0.6000000000000001, 0.8, 1}, 2.9: {0, 0.5, 1, 1.5, 2, 2.5, 3}, 50: {0, 10, 20, 30, 40, 50}, 0: {0, 1},
	} {
		if got := Ticks(most); !slices.Equal(got, want) {
			t.Errorf("up to %v: %v, want %v", most, got, want)
		}
	}
	for _, c := range []struct {
		from, to float64
		want     []float64
	}{{10, 1000, []float64{10, 20, 50, 100, 200, 500, 1000}}, {30, 300, []float64{20, 50, 100, 200, 500}}, {3, 4, []float64{2, 5}}} {
		if got := Decades(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

// Labels of lines that end at the same place stand below each other, inside the drawing.
func TestLabelsDoNotOverlap(t *testing.T) {
	labels := []label{{389, "a", "x"}, {390, "b", "x"}, {390, "c", "x"}, {50, "d", "x"}}
	writeLabels(io.Discard, labels)
	for i := 1; i < len(labels); i++ {
		if labels[i].y-labels[i-1].y < labelHeight || labels[i].y > height-bottom {
			t.Errorf("%+v", labels)
		}
	}
}
