package frontend

import (
	"cmp"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
)

// key names a service to the programs: the wildcard of both families is the zero address.
func (v *service) key() bpf.ServiceKey {
	k := bpf.ServiceKey{Address: v.listen.Addr().WithZone(""), Port: v.listen.Port()}
	if k.Address == netip.IPv6Unspecified() {
		k.Address = netip.Addr{}
	}
	return k
}

// told is what was last written to the programs about a service.
type told struct {
	serving *serving
	division
	mode    handoff.Mode
	entries int // of the pool of harvested cookies, that handshakes are mapped to
	serves  handoff.Versions
	why     string // the kernel does not answer
}

// tells returns what the programs must know about v now.
func (k *kernel) tells(v *service) (told, error) {
	t := told{serving: v.now.Load()}
	if modes := t.serving.modes(); len(modes) > 0 {
		t.mode = modes[0]
	}
	if len(t.serving.backends) == 1 {
		t.entries = t.serving.backends[0].Entries()
		t.serves = t.serving.backends[0].Serves()
	}
	if t.serving.fit != nil {
		t.serves = t.serving.fit.Serves
	}
	at := v.situation(k.attachedFor(v))
	var err error
	if t.division, err = divide(at); err != nil {
		err = fmt.Errorf("%s: %w", v.name, err)
	}
	t.why = at.why(t.division)
	return t, err
}

// protect adds or updates a service in the programs.
func (k *kernel) protect(v *service, t told) error {
	o := t.serving.settings
	s := bpf.Service{
		ServiceKey: v.key(), Proxy: !v.inline, Answer: t.answer, Format: t.format, FlowHellos: t.hellos,
		Unverified: o.Unverified, UnverifiedRate: o.UnverifiedRate, Pass: o.Pass, Monitor: o.Monitor,
		Interfaces: v.interfaces(),
	}
	if len(t.serving.backends) == 1 {
		s.Pool = t.serving.backends[0].entries(t.entries)
	}
	if t.passes {
		s.Admission = v.config.admission(t.mode, t.serves)
	}
	if !v.inline { // a worker has no other way to the server than a flow
		s.Unverified, s.Pass = bpf.UnverifiedDrop, 0
	}
	if v.inline { // the proxy's own limits come after the cookie
		s.SourceRate = bpf.Rate{PerSecond: o.HelloRate.PerSecond, Burst: uint32(o.HelloRate.Burst)}
		s.ServiceRate = bpf.Rate{PerSecond: o.BackendHelloRate.PerSecond, Burst: uint32(o.BackendHelloRate.Burst)}
		if len(v.workers) > 0 {
			s.WorkersPort, s.Assign = v.workers[0].socket.Local().Port(), v.config.WorkersPort == 0
		}
	}
	return k.guard.SetService(s)
}

// add adds a new service to the programs. After an error they may still know it, until remove.
func (k *kernel) add(v *service) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, err := k.tells(v)
	if err == nil {
		err = k.protect(v, t)
	}
	if err != nil {
		return err
	}
	k.known[v] = t
	v.refused.Store(nil)
	k.observe([]*service{v})
	for i, w := range v.workers {
		// A proxy's flow lives with the worker that opened it, whatever CPU the client's later packets arrive on: veth, RPS and
		// irqbalance move them. So there the kernel chooses, by a hash of the addresses. A socket that is alone needs no group.
		if v.inline && len(v.workers) > 1 {
			if err := k.guard.AddSocket(v.key(), i, rawFD(w.socket.FD())); err != nil {
				return err
			}
		}
		credit := k.guard.Credit(i)
		credit.Refill(creditBudget) // before the worker runs, so that the first client is not refused
		w.kernel, w.credit = k, &credit
	}
	return nil
}

// remove removes a service from the programs: its packets pass. It does nothing on a nil kernel, or if the programs do not know
// the service.
func (k *kernel) remove(v *service) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.known[v]; !ok {
		return
	}
	delete(k.known, v)
	k.flows.forget(v.key())
	if err := k.guard.DeleteService(v.key()); err != nil {
		v.log.Error("XDP still protects a service that was removed", "error", err)
	}
}

func protects(services []*service, k bpf.ServiceKey) bool {
	for _, v := range services {
		if v.key() == k {
			return true
		}
	}
	return false
}

// table makes the memory of a pool that the programs can read.
func (k *kernel) table(v *service, e *liveBackend, size int) handoff.Table {
	memory, err := k.guard.NewPoolMemory(size)
	if err != nil {
		v.log.Warn("XDP cannot issue harvested cookies: workers do, until a previous back end's last flow has ended", "error", err)
		e.lacking.Store(int64(size))
		return handoff.NewTable(size)
	}
	if was := e.memory.Swap(&memory); was != nil {
		e.outgrown = append(e.outgrown, *was)
	}
	return handoff.Table{Entries: handoff.EntriesOf(memory.Memory), Clock: memory.Clock}
}

// poolEntries returns how many entries for harvested cookies the services may need: each for two pools, because a new back end has
// its pool while the previous one still has flows.
func poolEntries(c *Config) (n int) {
	for i := range c.Services {
		if o := c.Services[i].Settings; len(c.Services[i].Backends) == 1 && (o.Handoff == handoff.Auto || o.Handoff.NeedsPool()) {
			n += 2 * handoff.Entries(cmp.Or(o.HarvestPool, handoff.DefaultPool))
		}
	}
	return n
}
