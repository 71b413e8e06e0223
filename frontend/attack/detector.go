package attack

import (
	"maps"
	"time"
)

// Defaults and constants of a Detector.
const (
	// DefaultQuiet: a flood that pauses for less is one attack.
	DefaultQuiet = 30 * time.Second
	// floor: fewer datagrams per second are never an attack.
	floor = 1000
	// factor over the usual rate: services have rush hours.
	factor = 10
	// memory is the time constant of the usual rate.
	memory = 10 * time.Minute
	// sustained is for how many seconds the rate must be above the threshold: clients that all return after an outage take less.
	sustained = 3
	// every is the interval of reports of a lasting attack.
	every = time.Minute
)

// Counts are a service's datagrams from unverified clients, since it began.
type Counts struct {
	Answered uint64  `json:"answered"`
	Dropped  Reasons `json:"dropped"`
}

// Add adds o.
func (c *Counts) Add(o *Counts) {
	c.Answered += o.Answered
	for reason, n := range o.Dropped {
		c.Dropped[reason] += n
	}
}

func (c *Counts) total() uint64 {
	n := c.Answered
	for _, d := range c.Dropped {
		n += d
	}
	return n
}

// since returns the difference to the earlier o.
func (c *Counts) since(o *Counts) Counts {
	d := Counts{Answered: c.Answered - min(c.Answered, o.Answered), Dropped: make(Reasons)}
	for reason, n := range c.Dropped {
		if n > o.Dropped[reason] {
			d.Dropped[reason] = n - o.Dropped[reason]
		}
	}
	return d
}

// News is what a Detector reports.
type News uint8

// The news.
const (
	Nothing News = iota
	Started
	Continues
	Ended
)

// Report describes an attack. Rates are datagrams per second.
type Report struct {
	Rate      float64 // at the start: now; of a continuing attack: over the last minute; at the end: over all of it
	Peak      float64
	Normal    float64 // the usual rate
	Threshold float64 // the rate above which is an attack
	For       time.Duration
	Counts    // since it began
}

// Total is the number of the attack's datagrams.
func (r *Report) Total() uint64 { return r.total() }

// Detector watches one service.
type Detector struct {
	rate  float64 // the rate above which is an attack; 0: by what is usual
	quiet time.Duration

	normal float64
	last   Counts
	at     time.Time // of last
	above  int       // seconds that the rate is above

	first    Counts // before the attack
	began    time.Time
	attacked bool
	peak     float64
	loud     time.Time // when it was last above half of the threshold
	told     Counts    // when news was last told
	toldAt   time.Time
}

// NewDetector makes a detector of attacks with more than rate datagrams per second (0: an unusual rate), which end after quiet.
func NewDetector(rate float64, quiet time.Duration) *Detector {
	return &Detector{rate: rate, quiet: quiet}
}

// Normal is the usual number of datagrams per second.
func (d *Detector) Normal() float64 { return d.normal }

// Threshold is the rate above which is an attack.
func (d *Detector) Threshold() float64 {
	if d.rate > 0 {
		return d.rate
	}
	return max(floor, factor*d.normal)
}

// Suspicious reports whether there is an attack, or one may be beginning.
func (d *Detector) Suspicious() bool { return d.attacked || d.above > 0 }

// Attacked reports whether there is an attack.
func (d *Detector) Attacked() bool { return d.attacked }

// Look takes the counts so far, about a second after the last look.
func (d *Detector) Look(now time.Time, c Counts) (News, *Report) {
	was, took := d.last, now.Sub(d.at)
	if d.at.IsZero() {
		d.last, d.at = c, now
		return Nothing, nil
	}
	if took <= 0 {
		return Nothing, nil
	}
	d.last, d.at = c, now
	news := c.since(&was)
	rate := float64(news.total()) / took.Seconds()
	if d.attacked {
		return d.during(now, rate, &c)
	}
	if rate <= d.Threshold() {
		d.above = 0
		d.normal += (rate - d.normal) * min(1, took.Seconds()/memory.Seconds())
		return Nothing, nil
	}
	if d.above == 0 {
		d.first, d.began, d.peak = was, now.Add(-took), 0
		d.first.Dropped = maps.Clone(was.Dropped)
	}
	d.above++
	d.peak = max(d.peak, rate)
	if d.above < sustained {
		return Nothing, nil
	}
	d.attacked, d.loud, d.told, d.toldAt = true, now, c, now
	return Started, d.report(now, rate, &c)
}

// during handles a look during an attack.
func (d *Detector) during(now time.Time, rate float64, c *Counts) (News, *Report) {
	d.peak = max(d.peak, rate)
	if rate > d.Threshold()/2 {
		d.loud = now
	}
	switch {
	case now.Sub(d.loud) >= d.quiet:
		r := d.report(now, 0, c)
		r.For = d.loud.Sub(d.began)
		r.Rate = float64(r.Total()) / max(1, r.For.Seconds())
		d.attacked, d.above = false, 0
		return Ended, r
	case now.Sub(d.toldAt) >= every:
		lately := c.since(&d.told)
		r := d.report(now, float64(lately.total())/now.Sub(d.toldAt).Seconds(), c)
		d.told, d.toldAt = *c, now
		return Continues, r
	}
	return Nothing, nil
}

func (d *Detector) report(now time.Time, rate float64, c *Counts) *Report {
	return &Report{Rate: rate, Peak: d.peak, Normal: d.normal, Threshold: d.Threshold(), For: now.Sub(d.began), Counts: c.since(&d.first)}
}
