package plot

import (
	"fmt"
	"math"
)

// Axis goes from From to To; what is beyond is drawn at its end.
type Axis struct {
	Label    string
	From, To float64
	Log      bool
	Ticks    []float64
}

// at is where v is between the ends, 0 to 1.
func (a *Axis) at(v float64) float64 {
	v = min(max(v, a.From), a.To)
	if a.Log {
		return math.Log(v/a.From) / math.Log(a.To/a.From)
	}
	return (v - a.From) / (a.To - a.From)
}

// Ticks are round numbers from 0 to at least most, some five of them.
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

// Decades are 1, 2 and 5 times the powers of ten from the last not above from to the first not below to.
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

// number is v with no more digits than it takes.
func number(v float64) string {
	if v >= 1e6 {
		return fmt.Sprintf("%gM", v/1e6)
	}
	return fmt.Sprintf("%.4g", v)
}
