package lanes

import (
	"fmt"
	"strings"
	"sync"
)

// Plan says which implementations compute a batch. Immutable, so shared by any number of goroutines.
type Plan struct {
	main *implementation           // computes whole groups of main.width messages
	tail [maxWidth]*implementation // computes so many messages as are left over then
}

// Names lists the implementations that this CPU can run, portable first.
func Names() []string {
	var l []string
	for _, im := range implementations {
		l = append(l, im.name)
	}
	return l
}

// Auto is the name that makes [Select] measure.
const Auto = "auto"

// Select returns the plan that uses nothing but the named implementation, or for Auto what [Measured] returns.
// The error names the choices.
func Select(name string) (*Plan, error) {
	if name == Auto {
		return Measured(), nil
	}
	for _, im := range implementations {
		if im.name == name {
			return only(im), nil
		}
	}
	return nil, fmt.Errorf("no cookie implementation %q on this CPU: choose %s or one of %s", name, Auto, strings.Join(Names(), ", "))
}

// Measured returns the fastest plan on this CPU. The first call measures, for some milliseconds.
func Measured() *Plan { return measured() }

var measured = sync.OnceValue(func() *Plan { return choose(measure(implementations)) })

func only(im *implementation) *Plan {
	p := &Plan{main: im}
	for i := range p.tail {
		p.tail[i] = im
	}
	return p
}

// cost is what messages cost in an implementation, in nanoseconds.
type cost struct {
	im    *implementation
	call  float64 // a batch of one group, and of one message in it
	group float64 // each further group
	lane  float64 // packing and reading out each further message
}

// of is the time for n messages.
func (c *cost) of(n int) float64 {
	groups := (n + c.im.width - 1) / c.im.width
	return c.call + float64(groups-1)*c.group + float64(n-1)*c.lane
}

// choose makes the plan with the least cost: for the bulk the implementation that is fastest in whole groups,
// for each number of messages left over the one that is fastest for so many. That one is never wider, so that its
// last group ends where one of the bulk's would, within the batch.
func choose(costs []cost) *Plan {
	best := func(width int, of func(c *cost) float64) *implementation {
		var b *cost
		for i := range costs {
			if c := &costs[i]; c.im.width <= width && (b == nil || of(c) < of(b)) {
				b = c
			}
		}
		return b.im
	}
	p := &Plan{main: best(maxWidth, func(c *cost) float64 { return c.group/float64(c.im.width) + c.lane })}
	for n := range p.tail {
		p.tail[n] = best(p.main.width, func(c *cost) float64 { return c.of(max(n, 1)) })
	}
	return p
}

// String describes the plan: "shani for 1, shani-x2 for 2..9, avx512 for 10..16 and each further 16".
func (p *Plan) String() string {
	w := p.main.width
	if w == 1 {
		return p.main.name
	}
	at := func(n int) string {
		if n == w {
			return p.main.name
		}
		return p.tail[n].name
	}
	var parts []string
	for from := 1; from <= w; {
		to := from
		for to < w && at(to+1) == at(from) {
			to++
		}
		s := fmt.Sprintf("%s for %d..%d", at(from), from, to)
		if to == from {
			s = fmt.Sprintf("%s for %d", at(from), from)
		}
		parts = append(parts, s)
		from = to + 1
	}
	if len(parts) == 1 {
		return p.main.name
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(" and each further %d", w)
}
