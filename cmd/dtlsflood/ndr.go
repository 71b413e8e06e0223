package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// precision is where a search ends: the rate that holds and the one that does not are this near.
const precision = 0.02

// leastQuestions is what a trial must have for its share of lost ones to say something.
const leastQuestions = 10

// search finds the highest rate with a loss below the bound (RFC 2544 section 26.1): first all that can be sent, or
// -Q, then halving between what held and what did not. Each trial takes --duration.
func (o *options) search(ctx context.Context, report *reporter) error {
	if o.traffic.Questions() == 0 || o.count != 0 {
		return usage("--ndr needs a mix with questions, and no -n")
	}
	sent, loss, err := o.trial(ctx, o.rate, report)
	if err != nil {
		return err
	}
	if loss <= o.ndr {
		report.rate(sent, o.ndr, "generator")
		return fmt.Errorf("non-drop rate: at least %.0f a second; the generator, not the service, is the limit", sent)
	}
	low, high := 0.0, sent
	for high-low > precision*high && high*o.duration.Seconds() > leastQuestions && ctx.Err() == nil {
		rate := (low + high) / 2
		sent, loss, err := o.trial(ctx, rate, report)
		switch {
		case err != nil:
			return err
		case loss <= o.ndr && sent >= (1-precision)*rate:
			low = rate
		default:
			high = rate
		}
	}
	if low == 0 || ctx.Err() != nil {
		return errors.New("non-drop rate: none was found")
	}
	report.rate(low, o.ndr, "service")
	return nil
}

// trial floods at a rate for the duration, and returns the rate that came of it and the share of questions without a
// right answer.
func (o *options) trial(ctx context.Context, rate float64, report *reporter) (sent, loss float64, err error) {
	at := *o
	at.rate = rate
	e, err := at.open()
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	began := time.Now()
	err = e.run(ctx)
	took := min(time.Since(began), o.duration)
	c, failed := e.counts()
	if err := errors.Join(err, failed, e.close()); err != nil {
		return 0, 0, err
	}
	if c.Questions == 0 {
		return 0, 0, errors.New("nothing was sent")
	}
	if c.Right == 0 {
		return 0, 0, o.wrong(c)
	}
	loss = max(0, 1-float64(c.Right)/float64(c.Questions))
	sent = float64(c.Sent) / took.Seconds()
	report.trial(rate, sent, loss)
	return sent, loss, nil
}
