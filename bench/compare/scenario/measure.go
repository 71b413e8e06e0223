package scenario

import (
	"fmt"
	"strings"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/flood/xdp"
)

// The limits beyond which a window counts as disturbed. /proc/stat counts in 10 ms, which is 0.5 % of a window
// of 2 s, and each share is a difference of two such counts. What others use does not count as the subject's,
// but changes the state of the caches.
const (
	mostSteal  = 0.01
	mostOthers = 0.05
	leastBusy  = 0.2 // below, mostly falling asleep and waking up are measured
)

// reading has all counters at one moment.
type reading struct {
	at       time.Time
	sent     uint64
	received uint64
	answers  xdp.Answers
	cpu      cpuTime
	tasks    time.Duration
}

func (b *Testbed) read() (r reading, err error) {
	for _, g := range b.floods {
		n, err := g.Sent()
		if err != nil {
			return r, err
		}
		r.sent += n
	}
	if b.counter != nil {
		if r.answers, err = b.counter.Answers(); err != nil {
			return r, err
		}
	}
	err = b.Lab.Middle.Do(func() error {
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
	for _, cpu := range b.cpus {
		t, err := readCPU(cpu)
		if err != nil {
			return r, err
		}
		r.cpu = r.cpu.plus(t)
	}
	r.at = time.Now()
	return r, err
}

// measure measures for a window during the flood.
func (b *Testbed) measure(rate float64, window time.Duration) (result.Run, error) {
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
		return result.Run{}, err
	}
	return b.difference(&from, &to), nil
}

// difference is the run between two readings. Shares are of all CPUs under test.
func (b *Testbed) difference(from, to *reading) result.Run {
	wall := to.at.Sub(from.at)
	per := func(n uint64) float64 { return float64(n) / wall.Seconds() }
	cpu := to.cpu.minus(from.cpu)
	share := func(d time.Duration) float64 { return max(0, d.Seconds()/wall.Seconds()/float64(len(b.cpus))) }
	busy := to.tasks - from.tasks
	if b.shared { // packet processing is not accounted to a process
		busy = cpu.busy
	}
	return result.Run{
		Seconds: wall.Seconds(), Offered: per(to.sent - from.sent), Received: per(to.received - from.received),
		Answers: per(to.answers.All - from.answers.All), Right: per(to.answers.Right - from.answers.Right),
		Busy: share(busy),
		Idle: share(cpu.idle), Steal: share(cpu.steal), Others: share(cpu.busy - busy),
	}
}

// What makes a generator quick enough: it offers so many times what is handled, or leaves no more than this of the CPU idle.
const (
	leastOffered = 1.3
	mostIdle     = 0.02
)

// short reports whether the subject could have handled more than it did, had the generator been quicker. Falling asleep and
// waking up is a part of what it took then, so what it handled per second of CPU time is the least that it can.
func short(r *result.Run, handled float64) bool {
	return r.Offered < leastOffered*handled && r.Idle > mostIdle
}

// disturbances returns the reasons why r does not show what a CPU can do.
func disturbances(s *Subject, r *result.Run) []string {
	if s.Shared != nil { // the generator is one of the others, and uses what the subject leaves
		return stolen(r)
	}
	why := intrusions(r)
	if r.Busy < leastBusy {
		why = append(why, fmt.Sprintf("CPU used for %.1f %% only: the generator was too slow", 100*r.Busy))
	}
	return why
}

// silence is the reason why nothing in r counts.
func silence(r *result.Run) string {
	switch {
	case r.Received == 0:
		return "no packet arrived"
	case r.Answers == 0:
		return "it answered nothing"
	}
	return "none of its answers is the HelloVerifyRequest for its question"
}

// intrusions returns who else used the CPU under test.
func intrusions(r *result.Run) []string {
	why := stolen(r)
	if r.Others > mostOthers {
		why = append(why, fmt.Sprintf("%.1f %% of the CPU used by others", 100*r.Others))
	}
	return why
}

func stolen(r *result.Run) (why []string) {
	if r.Steal > mostSteal {
		why = append(why, fmt.Sprintf("%.1f %% of the CPU stolen", 100*r.Steal))
	}
	return why
}

// line formats r for the progress display.
func line(r *result.Run) string {
	text := fmt.Sprintf("%.3f M/s per core; offered %.2f, received %.2f, answers %.3f M/s; busy %.0f %%, idle %.0f %%",
		r.PerCore/1e6, r.Offered/1e6, r.Received/1e6, r.Answers/1e6, 100*r.Busy, 100*r.Idle)
	if r.Disturbed != nil {
		text += "; DISTURBED: " + strings.Join(r.Disturbed, ", ")
	}
	return text
}
