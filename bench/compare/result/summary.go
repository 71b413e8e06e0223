package result

import (
	"fmt"
	"io"

	"github.com/dtlsguard/dtlsguard/bench/compare/plot"
)

// summary writes the most important figures as Markdown.
func (r *Report) summary(w io.Writer) {
	fmt.Fprintf(w, "%s; %s.\n\n", r.Heading(), r.Method())
	for _, s := range []struct{ title, scenario, unit, times string }{
		{"Answers to ClientHellos in overload, everything under test on one CPU", "peers", "answers/s and core", "ratio of the guard in the kernel"},
		{"The same by the guard's paths", "paths", "answers/s and core", "ratio of the first"},
		{"The same by kind of cookie, with the daemon", "formats", "answers/s and core", "ratio of the first"},
	} {
		if o := r.Find(s.scenario); o != nil {
			o.markdown(w, s.title, s.unit, s.times)
		}
	}
	if o := r.Find("costs"); o != nil {
		t := o.costs()
		t.Title = "Cost of the parts, without a network"
		t.markdown(w)
	}
	if t := r.targets(); len(t.Rows) > 0 {
		t.markdown(w)
	}
}

// markdown writes rows with the ratio of the first to each.
func (o *Outcome) markdown(w io.Writer, title, unit, times string) {
	if len(o.Rows) == 0 {
		return
	}
	t := Table{Title: title, Head: []string{"", unit, "ns each", times}}
	for i := range o.Rows {
		row := &o.Rows[i]
		switch {
		case row.Skipped != "":
			t.add(row.Subject, "skipped: "+row.Skipped)
		case row.Median == 0:
			t.add(row.Subject, row.missing())
		default:
			t.add(row.Subject, row.least()+plot.Number(row.Median), plot.Number(row.nanoseconds()), ratio(o.Rows[0].Median, row.Median))
		}
	}
	t.markdown(w)
}

// ratio formats the ratio of the first median, if there is one, to another.
func ratio(first, other float64) string {
	if first == 0 {
		return ""
	}
	return plot.Number(first / other)
}

// markdown writes t as Markdown.
func (t *Table) markdown(w io.Writer) {
	fmt.Fprintf(w, "%s:\n\n", t.Title)
	for i, row := range append([][]string{t.Head}, t.Rows...) {
		for j := range t.Head {
			cell := ""
			if j < len(row) {
				cell = row[j]
			}
			fmt.Fprintf(w, "| %s ", cell)
		}
		fmt.Fprint(w, "|\n")
		if i == 0 {
			for j := range t.Head {
				fmt.Fprint(w, map[bool]string{true: "|---", false: "|---:"}[t.Words(j)])
			}
			fmt.Fprint(w, "|\n")
		}
	}
	fmt.Fprintln(w)
}
