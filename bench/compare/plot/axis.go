package plot

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	gonum "gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Ticks returns some five round numbers from 0 to at least most.
func Ticks(most float64) []float64 {
	if !(most > 0) {
		return []float64{0, 1}
	}
	const few = 6
	power := math.Pow(10, math.Floor(math.Log10(most/few)))
	step := power
	for _, m := range []float64{2, 5, 10} {
		if most/step > few {
			step = power * m
		}
	}
	var all []float64
	for i := 0; ; i++ {
		all = append(all, float64(i)*step)
		if float64(i)*step >= most {
			return all
		}
	}
}

// Decades returns 1, 2 and 5 times powers of ten, from the last not above from to the first not below to.
func Decades(from, to float64) []float64 {
	var all []float64
	for p := math.Pow(10, math.Floor(math.Log10(from))); ; p *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := p * m; len(all) == 0 || all[len(all)-1] < to {
				if v <= from {
					all = all[:0]
				}
				all = append(all, v)
			}
		}
		if all[len(all)-1] >= to {
			return all
		}
	}
}

// Number formats v with three digits, and k and M for thousands and millions: 12, 355 k, 1.33 M.
func Number(v float64) string {
	unit := ""
	switch {
	case math.Abs(v) >= 999_500:
		v, unit = v/1e6, " M"
	case math.Abs(v) >= 10_000:
		v, unit = v/1e3, " k"
	}
	digits := 0
	if v != 0 {
		digits = max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s + unit
}

var black = color.RGBA{A: 255}

// palette has colours that readers who cannot tell red from green can distinguish (Okabe and Ito).
var palette = []color.RGBA{
	{0x00, 0x72, 0xb2, 255}, {0xe6, 0x9f, 0x00, 255}, {0x00, 0x9e, 0x73, 255}, {0xcc, 0x79, 0xa7, 255},
	{0x56, 0xb4, 0xe9, 255}, {0xd5, 0x5e, 0x00, 255}, {0x99, 0x99, 0x99, 255}, {0xc0, 0xb0, 0x20, 255},
}

// known gives subjects the same colour on all drawings.
var known = map[string]int{
	"dtlsguard xdp": 0, "dtlsguard xdp, inline": 0, "dtlsguard inline": 0, "xdp, native": 0,
	"dtlsguard proxy": 4, "workers alone": 4, "dtlsguard proxy behind XDP": 2, "workers behind XDP": 2, "no guard": 6,
	"C recvmmsg/sendmmsg echo": 1, "OpenSSL DTLSv1_listen": 5, "nginx UDP stream proxy": 3, "xdp, generic": 7,
}

// colouring maps the names of a drawing to colours.
type colouring map[string]int

// colour assigns colours to names: unknown names get free colours in order.
func colour(names ...string) colouring {
	c := colouring{}
	for _, n := range names {
		if i, ok := known[n]; ok {
			c[n] = i
		}
	}
	for _, n := range names {
		if _, ok := c[n]; ok {
			continue
		}
		i := 0
		for i < len(palette)-1 && c.uses(i) {
			i++
		}
		c[n] = i
	}
	return c
}

func (c colouring) of(name string) color.Color { return palette[c[name]] }

// newPlot returns an empty drawing.
func newPlot() *gonum.Plot {
	p := gonum.New()
	for _, t := range []*text.Style{&p.X.Label.TextStyle, &p.Y.Label.TextStyle, &p.X.Tick.Label, &p.Y.Tick.Label, &p.Legend.TextStyle} {
		t.Font.Variant = "Sans"
	}
	return p
}

func (c colouring) uses(i int) bool {
	for _, used := range c {
		if used == i {
			return true
		}
	}
	return false
}

// titleLine is the height of a line of a title, titleMost the number of characters that fit into it.
const (
	titleLine = 16
	titleMost = 115
)

// wrap breaks a title into lines, between words.
func wrap(title string) (lines []string) {
	line := ""
	for _, word := range strings.Fields(title) {
		if line != "" && len(line)+1+len(word) > titleMost {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	return append(lines, line)
}

// write draws a title and a picture of the given height as SVG without an XML prolog, so that it can be embedded in a page.
func write(out io.Writer, title string, height vg.Length, paint func(draw.Canvas)) error {
	lines := wrap(title)
	heading := vg.Length(titleLine*len(lines) + 6)
	canvas := vgsvg.New(width, height+heading)
	style := gonum.New().Title.TextStyle
	style.Font.Variant, style.XAlign, style.YAlign = "Sans", draw.XLeft, draw.YTop
	whole := draw.New(canvas)
	for i, l := range lines {
		whole.FillText(style, vg.Point{X: 4, Y: height + heading - vg.Length(4+titleLine*i)}, l)
	}
	paint(draw.Crop(whole, 4, -16, 4, -6-heading)) // tick labels reach beyond their axes
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return fmt.Errorf("draw: %w", err)
	}
	text := b.Bytes()
	if at := bytes.Index(text, []byte("<svg")); at > 0 {
		text = slices.Delete(text, 0, at)
	}
	_, err := out.Write(text)
	return err
}
