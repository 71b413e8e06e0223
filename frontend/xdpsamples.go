package frontend

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/attack"
)

// While there may be an attack, what XDP answers or drops is sampled in short windows at random times, so that packets pay for
// the sampling only in those: it adds 60 ns to each.
const (
	windowEvery   = 100 * time.Millisecond // on average
	windowLength  = 10 * time.Millisecond  // at most
	windowSamples = 16                     // ends it earlier
)

// xdpSketch has samples of what XDP answered or dropped of a service.
type xdpSketch struct {
	mu        sync.Mutex
	sketch    *attack.Sketch // nil: there was no sample yet
	now, base uint64         // such datagrams that were counted, in all and when the sketch began
}

func (x *xdpSketch) count(n uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.now = n
}

// forget has the sketch begin anew.
func (x *xdpSketch) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sketch, x.base = nil, x.now
}

func (x *xdpSketch) take(ip *[16]byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sketch == nil {
		x.sketch = attack.NewSketch(drawSeed())
	}
	x.sketch.Take(ip)
}

// part is what the sketch has. Its samples stand for all that was counted since it began.
func (x *xdpSketch) part() attack.Part {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sketch == nil {
		return attack.Part{}
	}
	list := x.sketch.Buckets()
	return attack.Part{Buckets: list, Each: float64(x.now-min(x.now, x.base)) / float64(attack.Samples(list))}
}

// sampleXDP samples until ctx ends.
func (s *Server) sampleXDP(ctx context.Context) {
	f := bpf.CaptureFilter{Reasons: ^uint32(0), Rate: bpf.Rate{PerSecond: 1 / windowLength.Seconds(), Burst: windowSamples}}
	for v := range bpf.VerdictLen {
		if _, is := unverifiedVerdict(v); is {
			f.Verdicts |= 1 << v
		}
	}
	failed := false
	for {
		pause := time.Second
		services := make(map[bpf.ServiceKey]*service)
		for _, v := range s.list() {
			if v.attack.may.Load() {
				services[v.key()] = v
			}
		}
		if len(services) > 0 {
			pause = rand.N(2 * windowEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if len(services) == 0 {
			continue
		}
		if err := s.sampleWindow(f, services); err != nil && !failed {
			failed = true
			s.config.Log.Error("prefixes of what XDP answers or drops are not sampled", "error", err)
		}
	}
}

// sampleWindow samples once. It does nothing while an operator's capture runs: the programs serve one at a time.
func (s *Server) sampleWindow(f bpf.CaptureFilter, services map[bpf.ServiceKey]*service) error {
	if !s.sampling.TryLock() {
		return nil
	}
	defer s.sampling.Unlock()
	c, err := s.kernel.guard.Capture(f)
	if errors.Is(err, bpf.ErrCapturing) || errors.Is(err, bpf.ErrClosed) { // of the process that this one takes the place of
		return nil
	}
	if err != nil {
		return err
	}
	c.SetDeadline(time.Now().Add(windowLength))
	for range windowSamples {
		p, readErr := c.Read()
		if readErr != nil {
			if !errors.Is(readErr, os.ErrDeadlineExceeded) {
				err = readErr
			}
			break
		}
		if v := services[p.Service]; v != nil {
			ip := p.Source.As16()
			v.attack.xdp.take(&ip)
		}
	}
	return errors.Join(err, c.Close())
}
