package main

import (
	"context"
	"errors"
	"time"
)

// flood is a run, with the sampled clients beside it.
type flood struct {
	*options
	engine  engine
	clients clients
	out     *reporter

	began time.Time
	took  time.Duration // of sending; after that, the run only waits for answers
	last  counts        // at the end of the last second
	// The rate is checked from the end of the first second, since part of that second is set-up.
	settled time.Duration
	before  counts
}

// countLook is the interval of checks whether all of -n is sent.
const countLook = 20 * time.Millisecond

// run sends for the time asked for, and reports each second and in the end.
func (f *flood) run(ctx context.Context) error {
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, f.pace.duration)
	defer cancel()
	f.began, f.took = time.Now(), f.pace.duration
	ended, sampled := make(chan error, 1), make(chan error, 1)
	go func() { ended <- f.engine.run(ctx) }()
	go func() { sampled <- f.clients.run(ctx) }()
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	look := time.NewTicker(countLook)
	defer look.Stop()
	for over := ctx.Done(); ; {
		select {
		case <-look.C:
			if now, err := f.engine.counts(); err != nil || f.pace.count != 0 && now.Sent >= f.pace.count {
				cancel() // if this fails, the end reports it
			}
		case <-over:
			over, f.took = nil, min(f.took, time.Since(f.began))
		case <-seconds.C:
			if err := f.second(); err != nil {
				cancel()
				return errors.Join(err, <-ended, <-sampled)
			}
		case err := <-ended:
			f.took = min(f.took, time.Since(f.began))
			cancel()
			if err := errors.Join(err, <-sampled); err != nil {
				f.out.clear()
				return err
			}
			return f.end(interrupted.Err() != nil)
		}
	}
}

// second reports the counts since the last one.
func (f *flood) second() error {
	now, err := f.engine.counts()
	if err != nil {
		return err
	}
	at := time.Since(f.began)
	since, _ := f.clients.take()
	f.out.second(at, now.minus(f.last), since)
	if f.last = now; f.settled == 0 {
		f.before, f.settled = now, at
	}
	return nil
}

// end reports the totals, and returns an error if the outcome is not as expected.
func (f *flood) end(interrupted bool) error {
	all, err := f.engine.counts()
	if err != nil {
		return err
	}
	_, became := f.clients.take()
	f.out.summary(f.took, all, became)
	slow := f.pace.slow(all.minus(f.before), f.took-f.settled)
	if sent := f.pace.count != 0 && all.Sent >= f.pace.count; sent || f.settled == 0 && interrupted {
		slow = nil // too short to tell
	}
	return errors.Join(slow, f.wrong(all, became), f.pace.outrun(all))
}
