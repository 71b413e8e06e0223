package result

import (
	"fmt"
	"io"
)

// Heading names the machine and the commit of r.
func (r *Report) Heading() string {
	clock := ""
	if r.Clock > 0 {
		clock = fmt.Sprintf(" at %.2f GHz", r.Clock)
	}
	return fmt.Sprintf("%s%s, %d CPUs, Linux %s, commit %s", r.Machine, clock, r.CPUs, r.Kernel, r.Commit)
}

// Method says how r was measured.
func (r *Report) Method() string {
	return fmt.Sprintf("%d runs of %s each, interleaved; load before: %s", r.Rounds, r.Window, r.Load)
}

// Tables returns the tables of all outcomes, of the targets, and of the projection to a NIC.
func (r *Report) Tables() []Table {
	var all []Table
	for _, o := range r.Outcomes {
		all = append(all, o.Tables()...)
	}
	if t := r.targets(); len(t.Rows) > 0 {
		all = append(all, t)
	}
	clock := r.ProjectTo
	if clock == 0 {
		clock = r.Clock
	}
	return append(all, r.Projection(clock).Tables()...)
}

// Print writes r as text.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s\n", r.Heading(), r.Method())
	for _, t := range r.Tables() {
		t.Print(w)
	}
}
