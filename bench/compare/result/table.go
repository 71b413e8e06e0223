package result

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Table is figures in rows; the first column and the next Left columns are words.
type Table struct {
	Title string
	Head  []string
	Left  int // columns of words beyond the first
	Rows  [][]string
	Notes []string // lines below
}

func (t *Table) add(cells ...string) { t.Rows = append(t.Rows, cells) }

func (t *Table) note(format string, a ...any) { t.Notes = append(t.Notes, fmt.Sprintf(format, a...)) }

// Print writes t as text. A row with fewer cells than the head ends with the reason why it has no figures.
func (t *Table) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", t.Title)
	widths := make([]int, len(t.Head))
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for i, c := range row {
			if !t.Why(row, i) {
				widths[i] = max(widths[i], utf8.RuneCountInString(c))
			}
		}
	}
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		fmt.Fprintln(w, strings.TrimRight(t.line(row, widths), " "))
	}
	for _, n := range t.Notes {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

func (t *Table) line(row []string, widths []int) string {
	var b strings.Builder
	for i, c := range row {
		pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c)))
		if t.Words(i) || t.Why(row, i) {
			b.WriteString("  " + c + pad)
		} else {
			b.WriteString("  " + pad + c)
		}
	}
	return b.String()
}

// Words reports whether column i is words, which are left-aligned.
func (t *Table) Words(i int) bool { return i <= t.Left }

// Why reports whether cell i of a row is the reason for missing figures.
func (t *Table) Why(row []string, i int) bool { return len(row) < len(t.Head) && i+1 == len(row) }

// Span is the number of columns that the last cell of such a row covers.
func (t *Table) Span(row []string) int { return len(t.Head) - len(row) + 1 }

// Tables returns the tables of an outcome.
func (o *Outcome) Tables() []Table {
	var all []Table
	for _, t := range []Table{o.rows(), o.handshakes(), o.streams(), o.latencies(), o.memory(), o.maps(), o.costs()} {
		if len(t.Rows) > 0 {
			all = append(all, t)
		}
	}
	if o.Failed != "" {
		all = append(all, Table{Notes: []string{"failed: " + o.Failed}})
	}
	for i := range all {
		all[i].Title = strings.TrimSuffix(fmt.Sprintf("%s: %s; %s", o.Name, o.Title, all[i].Title), "; ")
	}
	return all
}

func (o *Outcome) rows() Table {
	t := Table{Head: []string{"", "M/s per core", "spread", "ns each", "offered", "busy", "runs"}}
	for i := range o.Rows {
		row := &o.Rows[i]
		switch {
		case row.Skipped != "":
			t.add(row.Subject, "skipped: "+row.Skipped)
		case row.Median == 0:
			t.add(row.Subject, row.missing())
		default:
			t.add(row.Subject, row.least()+mega(row.Median), mega(row.Low)+"-"+mega(row.High), fmt.Sprintf("%.0f", row.nanoseconds()),
				fmt.Sprintf("%.2f", row.Mean(func(r *Run) float64 { return r.Offered })/1e6),
				percent(row.Mean(func(r *Run) float64 { return r.Busy })), fmt.Sprintf("%d/%d", row.Valid, len(row.Runs)))
		}
	}
	for _, c := range o.Ratios {
		switch {
		case c.Ratio == 0:
		case c.Want > 0:
			t.note("%s / %s: %s, want at least %.2f: %s", c.A, c.B, c.figure(), c.Want, map[bool]string{true: "yes", false: "NO"}[c.Ratio >= c.Want])
		default:
			t.note("%s / %s: %s", c.A, c.B, c.figure())
		}
	}
	return t
}

// least is what stands before r's figure.
func (r *Row) least() string { return map[bool]string{true: "at least "}[r.AtLeast] }

// figure is c as text.
func (c *Ratio) figure() string {
	text := fmt.Sprintf("%.3f", c.Ratio)
	if c.Bound != "" {
		text += " (" + string(c.Bound) + ")"
	}
	return text
}

// why is what disturbed the first disturbed run.
func (r *Row) why() string {
	if i := slices.IndexFunc(r.Runs, func(r Run) bool { return len(r.Disturbed) > 0 }); i >= 0 {
		return " (" + r.Runs[i].Disturbed[0] + ")"
	}
	return ""
}

func mega(v float64) string    { return fmt.Sprintf("%.3f", v/1e6) }
func percent(v float64) string { return fmt.Sprintf("%.0f%%", 100*v) }
