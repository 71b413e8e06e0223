package scenario

import (
	"fmt"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/gen"
)

// Run is what was measured of one subject in one window. Rates are per second.
type Run struct {
	Seconds  float64 `json:"seconds"`
	Offered  float64 `json:"offered"`  // frames that the generator sent
	Received float64 `json:"received"` // of them, what the link had room for
	Answers  float64 `json:"answers"`
	Right    float64 `json:"right"` // answers that are HelloVerifyRequests for their question
	// Shares of the CPU under test.
	Busy   float64 `json:"busy"` // what is under test
	Idle   float64 `json:"idle"`
	Steal  float64 `json:"steal"`
	Others float64 `json:"others"` // neither idle, nor stolen, nor of what is under test
	// PerCore is what the subject handled in a second of CPU time: its rate, if it had the CPU to itself
	// and more to do than it can. So the generator need not be able to do that, and what others take does
	// not count as the subject's.
	PerCore float64 `json:"per_core"`
	// Disturbed says why the rates are not to be believed.
	Disturbed []string `json:"disturbed,omitempty"`
}

// What a window may lose before it is called disturbed. /proc/stat counts in 10 ms, which is 0.5 % of a window
// of 2 s, and each share is a difference of two such counts. What others take does not count as the subject's,
// but leaves caches to it that it would not have had.
const (
	mostSteal  = 0.01
	mostOthers = 0.05
	leastBusy  = 0.2 // below, what is measured is mostly falling asleep and waking up
)

// reading is all counters at one time.
type reading struct {
	at       time.Time
	sent     uint64
	received uint64
	answers  gen.Answers
	cpu      cpuTime
	tasks    time.Duration
}

func (b *Bed) read() (r reading, err error) {
	if r.sent, err = b.flood.Sent(); err != nil {
		return r, err
	}
	if r.answers, err = b.counter.Answers(); err != nil {
		return r, err
	}
	err = b.Lab.Guard.Do(func() error {
		var err error
		r.received, err = received(b.Front())
		return err
	})
	if err != nil {
		return r, err
	}
	if r.tasks, err = runtimes(b.tasks); err != nil {
		return r, err
	}
	r.cpu, err = readCPU(subjectCPU)
	r.at = time.Now()
	return r, err
}

// measure watches for a window while the flood comes.
func (b *Bed) measure(rate float64, window time.Duration) (Run, error) {
	var from, to reading
	during := func(f func() error) error { return b.under(rate, f) }
	if b.round {
		during = b.primed
	}
	err := during(func() (err error) {
		time.Sleep(settle)
		if from, err = b.read(); err != nil {
			return err
		}
		time.Sleep(window)
		to, err = b.read()
		return err
	})
	if err != nil {
		return Run{}, err
	}
	return difference(&from, &to), nil
}

func difference(from, to *reading) Run {
	wall := to.at.Sub(from.at)
	per := func(n uint64) float64 { return float64(n) / wall.Seconds() }
	cpu := to.cpu.minus(from.cpu)
	share := func(d time.Duration) float64 { return max(0, d.Seconds()/wall.Seconds()) }
	return Run{
		Seconds: wall.Seconds(), Offered: per(to.sent - from.sent), Received: per(to.received - from.received),
		Answers: per(to.answers.All - from.answers.All), Right: per(to.answers.Right - from.answers.Right),
		Busy: share(to.tasks - from.tasks),
		Idle: share(cpu.idle), Steal: share(cpu.steal), Others: share(cpu.busy - (to.tasks - from.tasks)),
	}
}

// disturbed says why r does not show what one CPU can do.
func (r *Run) disturbed() (why []string) {
	add := func(format string, a ...any) { why = append(why, fmt.Sprintf(format, a...)) }
	if r.Steal > mostSteal {
		add("%.1f %% of the CPU stolen", 100*r.Steal)
	}
	if r.Others > mostOthers {
		add("%.1f %% of the CPU used by others", 100*r.Others)
	}
	if r.Busy < leastBusy {
		add("CPU used for %.1f %% only: the generator was too slow", 100*r.Busy)
	}
	return why
}

// line is r for a progress display.
func (r *Run) line() string {
	line := fmt.Sprintf("%.3f M/s a core; offered %.2f, received %.2f, answers %.3f M/s; busy %.0f %%, idle %.0f %%",
		r.PerCore/1e6, r.Offered/1e6, r.Received/1e6, r.Answers/1e6, 100*r.Busy, 100*r.Idle)
	if r.Disturbed != nil {
		line += "; DISTURBED: " + strings.Join(r.Disturbed, ", ")
	}
	return line
}
