package result

import "fmt"

// Figure is a number of a report, with a name that is the same in every report.
type Figure struct {
	Scenario, Subject, What string
	Spread
	Better int // 1: more is better; -1: less is
}

// Figures returns the figures of r; disturbed and skipped measurements give none.
func (r *Report) Figures() []Figure {
	var all []Figure
	for _, o := range r.Outcomes {
		for _, f := range o.figures() {
			if f.Median > 0 {
				f.Scenario = o.Name
				all = append(all, f)
			}
		}
	}
	return all
}

func (o *Outcome) figures() (all []Figure) {
	one := func(v float64) Spread { return Spread{v, v, v} }
	for i := range o.Rows {
		all = append(all, Figure{Subject: o.Rows[i].Subject, What: "per second and core", Spread: o.Rows[i].Spread, Better: 1})
	}
	for i := range o.Handshakes {
		h := &o.Handshakes[i]
		if h.missing() != "" {
			continue
		}
		subject := h.Subject + ", flood: " + h.Flood
		all = append(all,
			Figure{Subject: subject, What: "succeeded", Spread: one(h.Share()), Better: 1},
			Figure{Subject: subject, What: "p99 ms", Spread: one(h.P99), Better: -1})
	}
	for i := range o.Streams {
		s := &o.Streams[i]
		if s.missing() != "" {
			continue
		}
		subject := fmt.Sprintf("%s, %d bytes", s.Subject, s.Size)
		all = append(all,
			Figure{Subject: subject, What: "per second", Spread: s.Rate, Better: 1}, Figure{Subject: subject, What: "per second of CPU", Spread: s.PerCore, Better: 1},
			Figure{Subject: subject, What: "p50 us", Spread: s.P50, Better: -1}, Figure{Subject: subject, What: "p99 us", Spread: s.P99, Better: -1},
			Figure{Subject: subject, What: "p99.9 us", Spread: s.P999, Better: -1})
	}
	for i := range o.Costs {
		if c := &o.Costs[i]; c.missing() == "" {
			all = append(all, Figure{Subject: c.Subject, What: "ns", Spread: c.Spread, Better: -1})
		}
	}
	for i := range o.Memory {
		m := &o.Memory[i]
		all = append(all, Figure{Subject: m.Subject, What: "resident bytes", Spread: one(float64(m.Resident)), Better: -1},
			Figure{Subject: m.Subject, What: "map bytes", Spread: one(float64(m.MapBytes())), Better: -1})
	}
	return all
}
