package frontend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// kernelFlows counts the flows that the programs know, by outcome.
type kernelFlows struct {
	expired, evicted atomic.Uint64
	refused          atomic.Uint64 // for lack of room

	mu       sync.Mutex
	timedOut map[bpf.ServiceKey]uint64                       // handshakes
	took     map[bpf.ServiceKey][bpf.HandshakeBuckets]uint64 // how many had taken how long at the last look
}

// forget forgets a service that is removed.
func (f *kernelFlows) forget(s bpf.ServiceKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.timedOut, s)
	delete(f.took, s)
}

// inlineHandshakes adds the handshakes of an inline service to t, as far as the kernel can tell: ClientHellos that passed began them,
// repeated ones too, the server's first protected record to a client finished one, and its alert to a client without one failed it. One
// that the client gives up is not seen: it times out.
func (k *kernel) inlineHandshakes(v *service, t *metrics.Totals) {
	c, err := k.guard.ServiceCounters(v.key())
	if err != nil { // it is not protected yet, or not any more
		return
	}
	t.Events[metrics.Started] += c.Verdict[bpf.PassVerified] + c.Verdict[bpf.PassAddress] + c.Verdict[bpf.PassUnproved] + c.Egress[bpf.EgressReinjected]
	t.Events[metrics.Finished] += c.Egress[bpf.EgressLearned]
	t.Events[metrics.Failed] += c.Egress[bpf.EgressRefused]
	k.flows.mu.Lock()
	defer k.flows.mu.Unlock()
	t.Events[metrics.TimedOut] += k.flows.timedOut[v.key()]
}

// countTimedOut counts the handshakes that timed out after since, and returns since of the next call.
func (k *kernel) countTimedOut(since uint64) (uint64, error) {
	k.flows.mu.Lock()
	defer k.flows.mu.Unlock()
	if k.flows.timedOut == nil {
		k.flows.timedOut = make(map[bpf.ServiceKey]uint64)
	}
	return k.guard.TimedOut(since, func(s bpf.ServiceKey) { k.flows.timedOut[s]++ })
}

// observe puts how long handshakes with inline services took into their histograms: those since the last call, and since the first
// call for a service, for its counters may be a predecessor's.
func (k *kernel) observe(services []*service) {
	k.flows.mu.Lock()
	defer k.flows.mu.Unlock()
	for _, v := range services {
		if !v.inline {
			continue
		}
		now, err := k.guard.ServiceCounters(v.key())
		if err != nil { // it is not protected yet, or not any more
			continue
		}
		for i, was := range k.flows.handshakes(v.key(), &now) {
			for range now.Handshakes[i] - was {
				v.handshakeTimes.Observe(bpf.HandshakeTime(i).Seconds())
			}
		}
	}
}

// handshakes returns those that were counted at the last call, and remembers those of now.
func (f *kernelFlows) handshakes(s bpf.ServiceKey, now *bpf.Counters) [bpf.HandshakeBuckets]uint64 {
	if f.took == nil {
		f.took = make(map[bpf.ServiceKey][bpf.HandshakeBuckets]uint64)
	}
	was, ok := f.took[s]
	f.took[s] = now.Handshakes
	if !ok {
		return now.Handshakes
	}
	return was
}

// evictEvery is how often idle flows are looked for in the kernel, and evictSoon the same while three quarters of the
// room is used: looking through 65 536 flows of as many sources takes some 60 ms of a CPU.
const (
	evictEvery = 10 * time.Second
	evictSoon  = time.Second
)

// kernelFlows returns how many established flows the programs need room for: those of proxies, which workers count, and those
// of inline services, which are learned.
func (c *Config) kernelFlows() int {
	kinds := make(map[bool]bool)
	for i := range c.Services {
		kinds[c.Services[i].Inline()] = true
	}
	return c.MaxFlows * max(1, len(kinds))
}

// idleTimes returns how long flows of each service may be silent. The zero key is for services that have been removed.
func (s *Server) idleTimes() map[bpf.ServiceKey]time.Duration {
	times := map[bpf.ServiceKey]time.Duration{{}: s.config.IdleTimeout}
	for _, v := range s.list() {
		times[v.key()] = v.now.Load().settings.IdleTimeout
	}
	return times
}

// watchFlows removes idle flows from the programs, and those beyond the limits in force, until ctx ends, and observes the handshakes of
// services. idle returns how long flows may be silent, by service.
func (k *kernel) watchFlows(ctx context.Context, services func() []*service, idle func() map[bpf.ServiceKey]time.Duration, limits func() relay.Limits) {
	t := time.NewTicker(evictSoon)
	defer t.Stop()
	var last time.Time
	full, crowded, looked := false, 0, uint64(monotonic())
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			k.observe(services())
			if !full && now.Sub(last) < evictEvery {
				continue
			}
			last = now
		}
		times := idle()
		e, err := k.guard.EvictFlows(func(s bpf.ServiceKey) time.Duration {
			if t, ok := times[s]; ok {
				return t
			}
			return times[bpf.ServiceKey{}] // it was added just now
		}, limits().PerSource)
		if err != nil {
			k.log.Error("flows of XDP could not be listed", "error", err)
			continue
		}
		k.flows.expired.Add(uint64(e.Expired))
		k.flows.evicted.Add(uint64(e.Evicted + e.Crowded + e.Lingered))
		full = e.Scarce
		crowded = k.tellFull(crowded, e.Refused)
		if looked, err = k.countTimedOut(looked); err != nil {
			k.log.Error("half-open flows of XDP could not be listed", "error", err)
		}
	}
}

// tellFull says that sources have as many flows as they may have, once until there is none: was and now are how many there were at the
// last look and are now. It returns now.
func (k *kernel) tellFull(was, now int) int {
	if now > 0 && was == 0 {
		k.log.Warn("sources have all flows that they may have with inline services: they begin no handshakes", "sources", now,
			"hint", "for many clients behind one address raise flows-per-source")
	}
	return now
}

// inlineFlows counts the flows of the inline ones among services, which only the programs know: half-open ones, whose handshake has
// not taken too long, and established ones. It does nothing on a nil kernel.
func (k *kernel) inlineFlows(services []*service) (halfOpen, established int) {
	if k == nil {
		return 0, 0
	}
	inline := make(map[bpf.ServiceKey]time.Duration)
	for _, v := range services {
		if v.inline {
			inline[v.key()] = v.config.HandshakeTimeout
		}
	}
	if len(inline) == 0 {
		return 0, 0
	}
	err := k.guard.Flows(func(f bpf.Flow) bool {
		most, ok := inline[f.Service]
		switch {
		case !ok:
		case f.Established:
			established++
		case f.Idle < most: // the programs' table forgets them when it needs room
			halfOpen++
		}
		return true
	})
	if err != nil && !errors.Is(err, bpf.ErrClosed) {
		k.log.Error("flows of XDP could not be counted", "error", err)
	}
	return halfOpen, established
}

// admit lets the packets of a client pass that proved its address to a worker: in a proxy while it has a flow, inline for its
// handshake with the server. It reports whether the client's source may have one more of those. Only with a cookie does it count
// against the source's share: without one anybody could use up a victim's.
func (k *kernel) admit(v *service, client udpbatch.Endpoint, cookie bool) bool {
	var err error
	switch {
	case !v.inline:
		err = k.guard.AddFlow(v.key(), client.AddrPort())
	case cookie:
		err = k.guard.AddHalfOpen(v.key(), client.AddrPort())
	default:
		err = k.guard.AddUnproved(v.key(), client.AddrPort())
	}
	if errors.Is(err, bpf.ErrHalfOpen) {
		return false
	}
	if err != nil && k.flows.refused.Add(1) == 1 {
		k.log.Warn("verified client could not be made known to XDP; further ones are counted", "error", err)
	}
	return true
}

// forget undoes admit.
func (k *kernel) forget(v *service, client udpbatch.Endpoint) {
	if err := k.guard.DeleteFlow(v.key(), client.AddrPort()); err != nil {
		k.log.Warn("flow could not be taken back from XDP", "error", err)
	}
}
