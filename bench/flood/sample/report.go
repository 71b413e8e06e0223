package sample

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dtlsguard/dtlsguard/bench/flood/answer"
)

// Report sums up clients.
type Report struct {
	Events  [EventLen]uint64
	Faults  [answer.FaultLen]uint64 // of Events[Wrong]
	Latency Latency
}

// Latency is the time from a question without a cookie to its answer, 0 if there was none.
type Latency struct {
	Answers             uint64
	P50, P99, P999, Max time.Duration
}

// tally is a Report under construction.
type tally struct {
	events [EventLen]uint64
	faults [answer.FaultLen]uint64
	times  *hdrhistogram.Histogram // in microseconds
}

func newTally() *tally {
	// up to a minute, to three digits: 150 KB
	return &tally{times: hdrhistogram.New(1, time.Minute.Microseconds(), 3)}
}

func (t *tally) report() Report {
	at := func(percent float64) time.Duration {
		return time.Duration(t.times.ValueAtPercentile(percent)) * time.Microsecond
	}
	return Report{t.events, t.faults, Latency{
		uint64(t.times.TotalCount()), at(50), at(99), at(99.9), time.Duration(t.times.Max()) * time.Microsecond,
	}}
}

func (t *tally) add(o *tally) {
	for i, n := range o.events {
		t.events[i] += n
	}
	for i, n := range o.faults {
		t.faults[i] += n
	}
	t.times.Merge(o.times)
}

func (t *tally) reset() {
	t.events, t.faults = [EventLen]uint64{}, [answer.FaultLen]uint64{}
	t.times.Reset()
}
