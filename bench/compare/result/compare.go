package result

import (
	"errors"
	"fmt"
	"io"
)

// Compare writes how each figure of a changed in b. A ratio is the ratio of medians; its spread is from the worst
// of b by the best of a to the best of b by the worst of a, so no pair of runs contradicts a marked
// difference. It fails if a and b have no figure in common.
func Compare(w io.Writer, a, b *Report) error {
	for _, c := range []struct{ what, a, b string }{
		{"machine", a.Machine, b.Machine}, {"CPUs", fmt.Sprint(a.CPUs), fmt.Sprint(b.CPUs)}, {"clock, GHz", fmt.Sprintf("%.2f", a.Clock), fmt.Sprintf("%.2f", b.Clock)},
		{"kernel", a.Kernel, b.Kernel}, {"commit", a.Commit, b.Commit},
		{"runs", fmt.Sprintf("%d of %s", a.Rounds, a.Window), fmt.Sprintf("%d of %s", b.Rounds, b.Window)},
	} {
		mark := "  "
		if c.a != c.b {
			mark = "! "
		}
		fmt.Fprintf(w, "%s%-10s A: %s\n  %-10s B: %s\n", mark, c.what, c.a, "", c.b)
	}
	t := Table{Title: "B / A", Head: []string{"", "figure", "A", "B", "ratio", "spread", ""}, Left: 1}
	if t.compare(a.Figures(), b.Figures()) == 0 {
		return errors.New("compare: the files have no figure in common")
	}
	t.Print(w)
	return nil
}

// compare adds rows, and returns the number of figures in both.
func (t *Table) compare(a, b []Figure) (both int) {
	type name struct{ scenario, subject, what string }
	others := make(map[name]Figure, len(b))
	for _, f := range b {
		others[name{f.Scenario, f.Subject, f.What}] = f
	}
	for _, f := range a {
		n := name{f.Scenario, f.Subject, f.What}
		g, ok := others[n]
		delete(others, n)
		subject := f.Scenario + ": " + f.Subject
		if !ok {
			t.add(subject, f.What, short(f.Median), "-", "", "", "only in A")
			continue
		}
		both++
		low, high := g.Low/f.High, g.High/f.Low
		t.add(subject, f.What, short(f.Median), short(g.Median), fmt.Sprintf("%.3f", g.Median/f.Median), fmt.Sprintf("%.3f-%.3f", low, high), verdict(low, high, f.Better))
	}
	for _, f := range b {
		if _, left := others[name{f.Scenario, f.Subject, f.What}]; left {
			t.add(f.Scenario+": "+f.Subject, f.What, "-", short(f.Median), "", "", "only in B")
		}
	}
	return both
}

// verdict is empty if the spread of a ratio includes 1.
func verdict(low, high float64, better int) string {
	switch {
	case low <= 1 && high >= 1:
		return ""
	case (low > 1) == (better > 0):
		return "better"
	}
	return "WORSE"
}

// short formats a number of any size in a few characters.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3f M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1f k", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
