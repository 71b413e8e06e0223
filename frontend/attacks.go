package frontend

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// forgetEvery bounds the age of samples at the start of an attack.
const forgetEvery = 10 * time.Second

// limitFree is how long no client must have met a limit before it counts as no longer reached.
const limitFree = time.Minute

// drawSeed draws the seed of a service's sketches.
func drawSeed() [2]uint64 {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes instead
	return [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
}

// attackState tracks attacks on a service. Show, state, may and xdp may be used by any goroutine; the rest belongs to watchAttacks.
type attackState struct {
	may      atomic.Bool // there is an attack, or one may be beginning
	xdp      xdpSketch
	detector *attack.Detector
	rate     float64 // that the detector was made with
	forgot   time.Time
	limits   [relay.ReasonLen]limitState
	handed   *attack.State // of an earlier process
	before   attack.Counts // of earlier processes

	mu                sync.Mutex // also of detector, which only watchAttacks changes
	attacked          bool
	normal, threshold float64
}

// limitState tracks how clients met a limit of flows.
type limitState struct {
	clients uint64    // that met it
	since   uint64    // clients, when it was reached
	met     time.Time // last
	reached bool
}

func (a *attackState) show() (attacked bool, normal, threshold float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attacked, a.normal, a.threshold
}

// state returns what another process needs to continue; nil if there is nothing yet.
func (a *attackState) state() *attack.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.detector == nil {
		return a.handed
	}
	return a.detector.State()
}

// take continues the state of an earlier process, whose counters of the service are t.
func (a *attackState) take(s *attack.State, t *metrics.Totals) {
	a.handed, a.before = s, unverified(t)
}

// watchAttacks reads the counters of all services once per second until ctx ends.
func (s *Server) watchAttacks(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, v := range s.list() {
				s.lookForAttack(v, now)
			}
		}
	}
}

// lookForAttack looks at one service.
func (s *Server) lookForAttack(v *service, now time.Time) {
	a := &v.attack
	a.mu.Lock()
	if rate := v.now.Load().settings.AttackRate; a.detector == nil || a.rate != rate {
		if a.detector, a.rate = attack.NewDetector(rate, s.config.AttackQuiet), rate; a.handed != nil && a.handed.Rate == rate {
			a.detector = a.handed.Continue(s.config.AttackQuiet)
		}
		a.handed = nil
	}
	a.mu.Unlock()
	var t metrics.Totals
	for _, w := range v.workers {
		w.counts.AddTo(&t)
	}
	c := unverified(&t)
	c.Add(&a.before)
	if s.kernel != nil {
		if k, err := s.kernel.guard.ServiceCounters(v.key()); err == nil { // an error: it is not protected yet
			a.xdp.count(unverifiedXDP(&c, &k))
		}
	}
	a.mu.Lock()
	news, r := a.detector.Look(now, c)
	a.attacked, a.normal, a.threshold = a.detector.Attacked(), a.detector.Normal(), a.detector.Threshold()
	a.mu.Unlock()
	switch news {
	case attack.Started:
		v.events.Emit(events.AttackStarted, v.name, "rate", whole(r.Rate), "normal", whole(r.Normal), "threshold", whole(r.Threshold),
			"answered", r.Answered, "dropped", r.Dropped)
	case attack.Continues:
		v.events.Emit(events.AttackContinues, v.name, "rate", whole(r.Rate), "normal", whole(r.Normal), "threshold", whole(r.Threshold),
			"answered", r.Answered, "dropped", r.Dropped, "for", r.For.Round(time.Second), "peak", whole(r.Peak), "prefixes", s.topPrefixes(v))
	case attack.Ended:
		v.events.Emit(events.AttackEnded, v.name, "rate", whole(r.Rate), "normal", whole(r.Normal), "threshold", whole(r.Threshold),
			"answered", r.Answered, "dropped", r.Dropped, "for", r.For.Round(time.Second), "peak", whole(r.Peak), "total", r.Total(),
			"prefixes", s.topPrefixes(v))
	}
	if !a.detector.Suspicious() && now.Sub(a.forgot) >= forgetEvery {
		a.forgot = now
		for _, w := range v.workers {
			w.sketch.Forget()
		}
		a.xdp.forget()
	}
	a.may.Store(a.detector.Suspicious())
	v.lookForLimits(&t, now)
}

// whole rounds a rate.
func whole(rate float64) int64 { return int64(rate + 0.5) }

// unverified sums the workers' counts of unverified datagrams.
func unverified(t *metrics.Totals) attack.Counts {
	c := attack.Counts{Dropped: make(attack.Reasons)}
	for e, n := range t.Events {
		switch l := metrics.Labels[e]; {
		case n == 0 || l.Stage != "client":
		case l.Outcome == "answered":
			c.Answered += n
		case l.Outcome == "dropped":
			c.Dropped[l.Reason] += n
		}
	}
	if t.Overruns > 0 {
		c.Dropped["receive-overrun"] = t.Overruns
	}
	return c
}

// unverifiedVerdict reports whether a verdict is of unverified datagrams, and why it drops them, if it does.
func unverifiedVerdict(v bpf.Verdict) (reason string, is bool) {
	reason, dropped := strings.CutPrefix(v.String(), "drop-")
	if dropped {
		return reason, true
	}
	return "", v == bpf.Answered || v == bpf.Reset
}

// unverifiedXDP adds what the programs counted of such datagrams to c, and returns their number.
func unverifiedXDP(c *attack.Counts, k *bpf.Counters) (all uint64) {
	for i, n := range k.Verdict {
		reason, is := unverifiedVerdict(bpf.Verdict(i))
		switch {
		case n == 0 || !is:
			continue
		case reason == "":
			c.Answered += n
		default:
			c.Dropped[reason] += n
		}
		all += n
	}
	return all
}

// topPrefixes returns the sources of most unverified datagrams.
func (s *Server) topPrefixes(v *service) attack.Prefixes {
	parts := []attack.Part{v.attack.xdp.part()}
	for _, w := range v.workers {
		parts = append(parts, attack.Part{Buckets: w.sketch.Buckets(), Each: attack.SampleEvery})
	}
	return attack.Top(parts)
}

// lookForLimits emits events about flow limits that clients start or stop meeting.
func (v *service) lookForLimits(t *metrics.Totals, now time.Time) {
	for r := relay.Accepted + 1; r < relay.ReasonLen; r++ {
		if !r.Full() {
			continue
		}
		l := &v.attack.limits[r]
		clients := t.Events[metrics.NoFlow(r)] + t.Events[metrics.Evicted(r)]
		switch {
		case clients > l.clients:
			if !l.reached {
				l.reached, l.since = true, l.clients
				v.events.Emit(events.LimitReached, v.name, "limit", r.String(), "clients", clients-l.since)
			}
			l.clients, l.met = clients, now
		case l.reached && now.Sub(l.met) >= limitFree:
			l.reached = false
			v.events.Emit(events.LimitFree, v.name, "limit", r.String(), "clients", clients-l.since)
		}
	}
}
