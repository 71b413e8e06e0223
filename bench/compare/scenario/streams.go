package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/bench/compare/result"
	"github.com/dtlsguard/dtlsguard/bench/testkit/lab"
)

const (
	// streamFlows is the number of established flows: few enough to stay in every cache of a relay.
	streamFlows = 16
	// streamRate is the number of requests per second when latency is measured: half of what the slowest path here can do.
	streamRate = 4000
)

// streamSizes are the sizes of requests and echoes in bytes of UDP payload: sensor or voice data, and a full record.
var streamSizes = []int{100, 1200}

// Streams sends records on established flows over each of several paths, in turn, several times; a server beyond the guard's namespace
// echoes them.
type Streams struct {
	Name, Title string
	Paths       []*Subject
}

func streams(e *Entry, w *Fixtures) (Scenario, error) {
	return &Streams{Name: e.Name, Title: e.Title, Paths: []*Subject{
		routePath(), passPath(), inlinePath(), proxyPath("dtlsguard proxy", w, false), proxyPath("dtlsguard proxy behind XDP", w, true), nginxPath(w),
	}}, nil
}

// Estimate is the approximate duration.
func (t *Streams) Estimate(s *Settings) (all time.Duration) {
	for _, p := range t.Paths {
		if p.Skip == "" {
			all += setUp + 2*s.Window*time.Duration(len(streamSizes))
		}
	}
	return all * time.Duration(s.Rounds)
}

// sample is the measurement of one round for one size. A load is disturbed or not as a whole.
type sample struct {
	rate, perCore, busy float64
	latencies           []float64 // us, ascending
	lost                float64
	disturbed           []string
}

// Run measures each path.
func (t *Streams) Run(ctx context.Context, s *Settings) (*result.Outcome, error) {
	samples := make([][]sample, len(t.Paths)*len(streamSizes))
	for round := range s.Rounds {
		for i, p := range t.Paths {
			if p.Skip != "" {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			found, err := t.once(p, s)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", t.Name, p.Name, err)
			}
			for j, m := range found {
				k := i*len(streamSizes) + j
				samples[k] = append(samples[k], m)
				fmt.Fprintf(s.Progress, "%s %d/%d %s, %d bytes: %.0f round trips/s, busy %.0f %%; p50 %.0f us %v\n",
					t.Name, round+1, s.Rounds, p.Name, streamSizes[j], m.rate, 100*m.busy, result.Quantile(m.latencies, 0.5), m.disturbed)
			}
		}
	}
	o := &result.Outcome{Name: t.Name, Title: t.Title}
	for i, p := range t.Paths {
		for j, size := range streamSizes {
			r := result.Stream{Subject: p.Name, Size: size, Skipped: p.Skip, Offered: streamRate}
			summarise(&r, samples[i*len(streamSizes)+j], s.KeepDisturbed)
			o.Streams = append(o.Streams, r)
		}
	}
	o.Ratios = inlineRatios(o.Streams)
	return o, nil
}

// mostInline is how much more CPU than with the bare programs a round trip may take.
const mostInline = 1.08

// inlineRatios compare, by size, the round trips per second of CPU of the guard inline with those of programs that do nothing.
func inlineRatios(all []result.Stream) (ratios []result.Ratio) {
	for _, size := range streamSizes {
		var guard, bare float64
		for i := range all {
			if s := &all[i]; s.Size == size {
				switch s.Subject {
				case inline:
					guard = s.PerCore.Median
				case barePass:
					bare = s.PerCore.Median
				}
			}
		}
		what := fmt.Sprintf(", %d bytes, per s of CPU", size)
		r := result.Ratio{A: inline + what, B: barePass + what, Want: 1 / mostInline}
		if guard > 0 && bare > 0 {
			r.Ratio = guard / bare
		}
		ratios = append(ratios, r)
	}
	return ratios
}

// once measures one round on a path.
func (t *Streams) once(p *Subject, s *Settings) (found []sample, err error) {
	b, err := newTestbed(p, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	c, err := b.flowClients(streamFlows)
	if err != nil {
		return nil, err
	}
	for _, size := range streamSizes {
		m, err := b.sample(c, size, s.Window)
		if err != nil {
			return nil, fmt.Errorf("%d bytes: %w", size, err)
		}
		found = append(found, m)
	}
	return found, nil
}

// sample measures both loads once.
func (b *Testbed) sample(c *flowClients, size int, window time.Duration) (m sample, err error) {
	from, err := b.read()
	if err != nil {
		return m, err
	}
	echoes, err := c.saturate(size, window)
	if err != nil {
		return m, err
	}
	to, err := b.read()
	if err != nil {
		return m, err
	}
	run := b.difference(&from, &to)
	m.rate, m.busy = float64(echoes)/run.Seconds, run.Busy
	if run.Busy >= leastBusy {
		m.perCore = m.rate / run.Busy
	}
	m.disturbed = intrusions(&run)
	if m.latencies, m.lost, err = c.pace(size, streamRate, window); err != nil {
		return m, err
	}
	end, err := b.read()
	if err != nil {
		return m, err
	}
	run = b.difference(&to, &end)
	m.disturbed = append(m.disturbed, intrusions(&run)...)
	slices.Sort(m.latencies)
	return m, nil
}

// summarise fills in the figures of the undisturbed samples.
func summarise(r *result.Stream, all []sample, keep bool) {
	r.Rounds = len(all)
	var rate, perCore, p50, p99, p999, every []float64
	for i := range all {
		m := &all[i]
		if m.disturbed != nil && !keep {
			r.Disturbed = m.disturbed[0]
			continue
		}
		r.Valid++
		rate = append(rate, m.rate)
		if m.perCore > 0 {
			perCore = append(perCore, m.perCore)
		}
		p50 = append(p50, result.Quantile(m.latencies, 0.5))
		p99 = append(p99, result.Quantile(m.latencies, 0.99))
		p999 = append(p999, result.Quantile(m.latencies, 0.999))
		every = append(every, m.latencies...)
		r.Busy += m.busy
		r.Lost += m.lost
	}
	n := float64(max(1, r.Valid))
	r.Busy, r.Lost = r.Busy/n, r.Lost/n
	r.Rate, r.P50, r.P99, r.P999 = result.SpreadOf(rate), result.SpreadOf(p50), result.SpreadOf(p99), result.SpreadOf(p999)
	if len(perCore) == r.Valid { // otherwise the path was too fast for its clients
		r.PerCore = result.SpreadOf(perCore)
	}
	if slices.Sort(every); len(every) > 0 {
		for _, q := range result.CurveAt {
			r.Curve = append(r.Curve, result.Quantile(every, q))
		}
	}
}

// serverSide moves the packet processing between guard and server to the right CPU, and starts
// the server.
func (b *Testbed) serverSide(p *Subject) error {
	err := b.Lab.Server.Do(func() error {
		near, err := interfaceNamed(lab.ToMiddle)
		if err != nil {
			return err
		}
		return errors.Join(queued(near.Name), whole(near.Name), napiOnGenerator(near.Index))
	})
	if err != nil {
		return err
	}
	if err := b.Lab.Middle.Do(func() error {
		return errors.Join(queued(lab.ToServer), whole(lab.ToServer), b.own(lab.ToServer, p))
	}); err != nil {
		return err
	}
	if err := b.Lab.Client.Do(func() error { return whole(lab.ToMiddle) }); err != nil {
		return err
	}
	return b.echo(b.Lab.Server, streamServer)
}
