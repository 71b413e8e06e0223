package result

import "fmt"

// Missing lists the figures that r should have and lacks, each with the reason. It leaves out what was skipped.
func (r *Report) Missing() (all []string) {
	add := func(o *Outcome, subject, why string) {
		all = append(all, fmt.Sprintf("%s, %s: %s", o.Name, subject, why))
	}
	for _, o := range r.Outcomes {
		if o.Failed != "" {
			all = append(all, o.Failed)
		}
		for i := range o.Rows {
			if row := &o.Rows[i]; row.Skipped == "" && row.Median == 0 {
				add(o, row.Subject, row.missing())
			}
		}
		for i := range o.Streams {
			if s := &o.Streams[i]; s.Skipped == "" && s.missing() != "" {
				add(o, fmt.Sprintf("%s, %d bytes", s.Subject, s.Size), s.missing())
			}
		}
		for i := range o.Costs {
			if c := &o.Costs[i]; c.missing() != "" {
				add(o, c.Subject, c.missing())
			}
		}
		for i := range o.Handshakes {
			switch h := &o.Handshakes[i]; {
			case h.missing() != "":
				add(o, h.Subject+", flood: "+h.Flood, h.missing())
			case h.Targeted && h.Succeeded == 0:
				add(o, h.Subject+", flood: "+h.Flood, "no handshake succeeded")
			}
		}
	}
	return all
}

// missing is the reason why a row has no figure.
func (r *Row) missing() string {
	return fmt.Sprintf("disturbed: %d of %d runs are good%s", r.Valid, len(r.Runs), r.why())
}
