package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
)

// Comparison measures subjects under the same flood, in turn, several times.
type Comparison struct {
	Name     string
	Title    string
	Template xdp.Template // of the flood, for subjects without their own
	Subjects []*Subject
	Compare  []Pair
}

// Pair is a ratio of the medians of two subjects, given by index.
type Pair struct {
	A, B int
	Want float64 // at least; 0: no target
}

// Estimate is the approximate duration.
func (c *Comparison) Estimate(s *Settings) (all time.Duration) {
	for _, subject := range c.Subjects {
		if subject.Skip == "" {
			look := settle + s.Window/lookShare
			all += time.Duration(s.Rounds) * (setUp + s.Window + time.Duration(min(3, len(subject.Rates)))*look)
			all += time.Duration(max(0, len(subject.Rates)-3)) * look
		}
	}
	return all
}

// Run runs the comparison.
func (c *Comparison) Run(ctx context.Context, s *Settings) (*result.Outcome, error) {
	o := &result.Outcome{Name: c.Name, Title: c.Title, Rows: make([]result.Row, len(c.Subjects))}
	for i, subject := range c.Subjects {
		o.Rows[i] = result.Row{Subject: subject.Name, Skipped: subject.Skip}
	}
	// Interleaved, so that changes over time affect all subjects.
	for round := range s.Rounds {
		for i, subject := range c.Subjects {
			if subject.Skip != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			run, err := c.once(subject, s)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", c.Name, subject.Name, err)
			}
			o.Rows[i].Runs = append(o.Rows[i].Runs, run)
			fmt.Fprintf(s.Progress, "%s %d/%d %s: %s\n", c.Name, round+1, s.Rounds, subject.Name, line(&run))
		}
	}
	for i := range o.Rows {
		o.Rows[i].Sum(s.KeepDisturbed)
	}
	for _, p := range c.Compare {
		a, b := &o.Rows[p.A], &o.Rows[p.B]
		r := result.Ratio{A: a.Subject, B: b.Subject, Want: p.Want}
		if a.Median > 0 && b.Median > 0 {
			r.Ratio, r.Bound = a.Median/b.Median, result.BoundOf(a, b)
		}
		o.Ratios = append(o.Ratios, r)
	}
	return o, nil
}

// lookShare is the part of a window for a look at each rate: a rough one suffices to find the peak.
const lookShare = 4

// silentTries is how many windows without any packet make a run.
const silentTries = 5

// once makes a testbed, measures once in it, and checks the answers.
func (c *Comparison) once(s *Subject, settings *Settings) (run result.Run, err error) {
	t := c.Template
	if s.Template != nil {
		t = *s.Template
	}
	b, err := newTestbed(s, &t)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	best, err := b.best(s, settings.Window/lookShare)
	if err != nil {
		return run, err
	}
	// On a busy machine a short window may pass without a packet, which says nothing about the subject.
	for range silentTries {
		if run, err = b.measure(best, settings.Window); err != nil {
			return run, err
		}
		if run.Received > 0 {
			break
		}
	}
	run.PerCore = s.Handled(&run)
	// A peak that is not at the highest rate is one, whatever was offered there.
	run.Short = short(&run, run.PerCore) && (s.Rates == nil || best == s.Rates[len(s.Rates)-1])
	if s.Rates == nil && !s.Wall {
		run.PerCore /= max(run.Busy, 1e-9)
	}
	run.Disturbed = disturbances(s, &run)
	if run.PerCore == 0 {
		run.Disturbed = append([]string{silence(&run)}, run.Disturbed...)
	}
	return run, b.checkAnswers(t)
}

// best finds the rate at which the subject handles most: the first time among all rates, later next to the previous best.
func (b *Testbed) best(s *Subject, window time.Duration) (rate float64, err error) {
	if len(s.Rates) == 1 {
		return s.Rates[0], nil
	}
	from, to := 0, len(s.Rates)
	if s.tried {
		from, to = max(0, s.peak-1), min(to, s.peak+2)
	}
	var most float64
	for i := from; i < to; i++ {
		run, err := b.measure(s.Rates[i], window)
		if err != nil {
			return 0, err
		}
		if h := s.Handled(&run); h > most {
			most, s.peak, s.tried = h, i, true
		}
	}
	if s.tried {
		rate = s.Rates[s.peak]
	}
	return rate, nil
}
