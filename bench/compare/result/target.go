package result

import (
	"fmt"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
)

// targets returns the table of targets and whether they were reached.
func (r *Report) targets() Table {
	t := Table{Title: "Targets", Head: []string{"", "", "figure", "target", "reached"}, Left: 1}
	for _, o := range r.Outcomes {
		for _, c := range o.Ratios {
			if c.Want > 0 {
				t.target(o.Name, c.A+" / "+c.B, plot.Number(c.Ratio), "at least "+plot.Number(c.Want), c.Ratio > 0, c.Ratio >= c.Want)
			}
		}
		for i := range o.Handshakes {
			o.targetsOf(&o.Handshakes[i], &t)
		}
	}
	return t
}

func (o *Outcome) targetsOf(h *Handshakes, t *Table) {
	if !h.Targeted {
		return
	}
	what := h.Subject + ", flood: " + h.Flood
	known := h.missing() == ""
	t.target(o.Name, what+", succeeded", exact(h.Share()), "at least "+exact(LeastHandshakes), known, h.Share() >= LeastHandshakes)
	idle := o.idle(h.Subject)
	most := MostWait(idle)
	t.target(o.Name, what+", p99", whole(h.P99)+" ms", "at most "+whole(most)+" ms", known && idle > 0 && h.P99 > 0, h.P99 <= most)
}

func (t *Table) target(scenario, what, figure, aimed string, known, reached bool) {
	if !known {
		t.add(scenario, what, "no figure")
		return
	}
	t.add(scenario, what, figure, aimed, map[bool]string{true: "yes", false: "NO"}[reached])
}

// exact formats a share that is close to one.
func exact(share float64) string { return fmt.Sprintf("%.1f%%", 100*share) }
