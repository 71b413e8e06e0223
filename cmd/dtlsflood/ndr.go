package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dtlsguard/dtlsguard/frontend/hint"
)

// precision ends a search: the largest ratio between the rate that failed and the one that held.
const precision = 0.02

// leastQuestions is how many questions a step needs for its loss to be meaningful.
const leastQuestions = 10

// mostSpoiled is how many steps may miss their rate on a busy machine before the search ends with a wider gap.
const mostSpoiled = 3

// search finds the highest rate with a loss below the bound (RFC 2544 section 26.1): first as fast as possible, or at
// -Q, then halving between what held and what did not. Each step takes --duration.
func (o *options) search(ctx context.Context, report *reporter) error {
	if o.traffic.mix.Questions() == 0 || o.pace.count != 0 {
		return hint.Usagef("--ndr needs a mix with questions, and no -n")
	}
	c, high, err := o.step(ctx, o.pace.rate, report)
	if err == nil {
		err = o.wrong(c, nil)
	}
	if err != nil {
		return err
	}
	if loss(c) <= o.pace.ndr {
		report.found(high, 0, o.pace.ndr)
		return fmt.Errorf("non-drop rate: at least %.0f per second; the generator, not the service, is the limit", high)
	}
	low, spoiled := 0.0, 0
	for high-low > precision*high && high*o.pace.duration.Seconds() > leastQuestions && spoiled < mostSpoiled && ctx.Err() == nil {
		rate := (low + high) / 2
		c, sent, err := o.step(ctx, rate, report)
		if err != nil {
			return err
		}
		if loss(c) > o.pace.ndr {
			high = rate
			continue
		}
		low = max(low, min(sent, rate))
		if sent < (1-precision)*rate {
			spoiled++
		}
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("non-drop rate: interrupted; it is between %.0f and %.0f per second", low, high)
	case low == 0:
		return fmt.Errorf("non-drop rate: none was found; of %.0f per second more than %g are lost", high, o.pace.ndr)
	}
	report.found(low, high, o.pace.ndr)
	return nil
}

// step floods at a rate for the duration, and returns the rate achieved.
func (o *options) step(ctx context.Context, rate float64, report *reporter) (c counts, sent float64, err error) {
	at := *o
	at.pace.rate, at.pace.even = rate, true
	e, err := at.open()
	if err != nil {
		return c, 0, err
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, o.pace.duration)
	defer cancel()
	began := time.Now()
	err = e.run(ctx)
	took := min(time.Since(began), o.pace.duration)
	c, failed := e.counts()
	if err := errors.Join(err, failed, e.close()); err != nil {
		return c, 0, err
	}
	sent = float64(c.Sent) / took.Seconds()
	if whole.Err() == nil { // otherwise it was cut short
		report.step(rate, sent, loss(c))
	}
	return c, sent, nil
}

// loss is the share of questions without a right answer.
func loss(c counts) float64 {
	if c.Questions == 0 {
		return 0
	}
	return max(0, 1-float64(c.Right)/float64(c.Questions))
}
