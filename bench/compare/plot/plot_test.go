package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// wellFormed fails the test if svg is not XML.
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
	if err := c.SVG(&b); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.String())
	for _, want := range []string{"&lt;first&gt;", ">level</text>", "a &lt;b&gt; &amp; c"} {
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
	if err := b.SVG(&out); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, out.String())
	for _, want := range []string{">a&amp;b</text>", ">c</text>", "> 4</text>"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	var none strings.Builder
	if err := (&Bars{}).SVG(&none); err != nil {
		t.Fatal(err)
	}
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

func TestNumbersAreForPeople(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.5: "0.5", 0.0123: "0.0123", 12.34: "12.3", 1234: "1234", 9999: "9999", 355_113: "355 k", 1_327_731: "1.33 M", 999_999: "1 M",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}

// A subject has the same colour on all drawings, and no other subject has that colour.
func TestColours(t *testing.T) {
	a, b := colour("other", "no guard"), colour("no guard", "x", "y", "C recvmmsg/sendmmsg echo")
	if a.of("no guard") != b.of("no guard") {
		t.Error("a subject has two colours")
	}
	if b.of("x") == b.of("y") || b.of("y") == b.of("C recvmmsg/sendmmsg echo") {
		t.Error("two subjects have one colour")
	}
}
