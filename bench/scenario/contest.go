package scenario

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/gen"
)

// Contest puts subjects under the same flood, in turn, several times over.
type Contest struct {
	Name     string
	Title    string
	Template gen.Template
	Subjects []*Subject
	Compare  []Comparison
}

// Comparison is a ratio of the medians of two subjects, by their place in the contest.
type Comparison struct {
	A, B int
	Want float64 // at least; 0: nothing is promised
}

// Settings of all contests.
type Settings struct {
	Window time.Duration // of one run
	Rounds int           // runs of each subject
	// Handshakes are those that clients try at each level of a flood.
	Handshakes int
	// Disturbed runs count too. For trying things out: the figures mean nothing.
	KeepDisturbed bool
	Progress      io.Writer
}

// Row is what a contest found of a subject.
type Row struct {
	Subject string  `json:"subject"`
	Median  float64 `json:"median"` // handled per second of CPU time
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Runs    []Run   `json:"runs"`
	Skipped string  `json:"skipped,omitempty"`
	Valid   int     `json:"valid"` // undisturbed runs
}

// Ratio is what became of a comparison.
type Ratio struct {
	A     string  `json:"a"`
	B     string  `json:"b"`
	Ratio float64 `json:"ratio"`
	Want  float64 `json:"want,omitempty"`
}

// Outcome of a contest.
type Outcome struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	Rows   []Row   `json:"rows"`
	Ratios []Ratio `json:"ratios,omitempty"`

	Handshakes []Handshakes `json:"handshakes,omitempty"`
}

// Run holds the contest.
func (c *Contest) Run(s *Settings) (*Outcome, error) {
	o := &Outcome{Name: c.Name, Title: c.Title, Rows: make([]Row, len(c.Subjects))}
	for i, subject := range c.Subjects {
		o.Rows[i] = Row{Subject: subject.Name, Skipped: subject.Skip}
	}
	// Interleaved, so that what changes with time changes for all.
	for round := range s.Rounds {
		for i, subject := range c.Subjects {
			if subject.Skip != "" {
				continue
			}
			run, err := c.once(subject, s)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", c.Name, subject.Name, err)
			}
			o.Rows[i].Runs = append(o.Rows[i].Runs, run)
			fmt.Fprintf(s.Progress, "%s %d/%d %s: %s\n", c.Name, round+1, s.Rounds, subject.Name, run.line())
		}
	}
	for i := range o.Rows {
		o.Rows[i].sum(s)
	}
	for _, p := range c.Compare {
		a, b := &o.Rows[p.A], &o.Rows[p.B]
		r := Ratio{A: a.Subject, B: b.Subject, Want: p.Want}
		if a.Median > 0 && b.Median > 0 {
			r.Ratio = a.Median / b.Median
		}
		o.Ratios = append(o.Ratios, r)
	}
	return o, nil
}

// once makes a bed, has one run in it, and checks the answers.
func (c *Contest) once(s *Subject, settings *Settings) (run Run, err error) {
	b, err := newBed(s, c.Template)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	best, err := b.best(s, settings.Window/4) // a rough look suffices to find the peak
	if err != nil {
		return run, err
	}
	if run, err = b.measure(best, settings.Window); err != nil {
		return run, err
	}
	run.PerCore = s.Handled(&run)
	if s.Rates == nil && !s.Wall {
		run.PerCore /= max(run.Busy, 1e-9)
	}
	run.Disturbed = run.disturbed()
	return run, b.checkAnswers(c.Template)
}

// best finds the rate at which the subject handles most.
func (b *Bed) best(s *Subject, window time.Duration) (rate float64, err error) {
	var most float64
	for _, r := range s.Rates {
		run, err := b.measure(r, window)
		if err != nil {
			return 0, err
		}
		if h := s.Handled(&run); h > most {
			most, rate = h, r
		}
	}
	return rate, nil
}

// sum fills in median and spread of the runs that count. Where more than half of them were disturbed there is
// no figure.
func (r *Row) sum(s *Settings) {
	var rates []float64
	for i := range r.Runs {
		if r.Runs[i].Disturbed == nil {
			r.Valid++
		}
		if r.Runs[i].Disturbed == nil || s.KeepDisturbed {
			rates = append(rates, r.Runs[i].PerCore)
		}
	}
	if len(rates) == 0 || 2*len(rates) < len(r.Runs) {
		return
	}
	slices.Sort(rates)
	n := len(rates)
	r.Median, r.Low, r.High = (rates[(n-1)/2]+rates[n/2])/2, rates[0], rates[n-1]
}
