package frontend

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/hint"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// target is a back end as configured: a name or an address. Its liveBackend exists once the server has answered, and is
// replaced when the name resolves to another address.
type target struct {
	service *service
	config  Backend
	backend atomic.Pointer[liveBackend] // nil: it has not answered yet

	stop    context.CancelFunc // of run
	leaving bool               // removed by a reload

	mu    sync.Mutex
	why   error        // why there is no back end, or it is unusable
	addrs []netip.Addr // what the name was last resolved to
	tried chan struct{}
}

// liveBackend is a server that has answered, with its own pool and watch. It lives until the service has dropped it and the
// last worker has ended its last flow there.
type liveBackend struct {
	*handoff.Backend
	service   *service
	name      string
	weight    float64
	seed      uint64 // of the rendezvous hash: from its configured address, so that a restart changes nothing
	upstreams *relay.Upstreams
	memory    atomic.Pointer[bpf.PoolMemory] // memory of its pool, where the programs can read it; nil: they cannot
	outgrown  []bpf.PoolMemory               // that of earlier pools
	lacking   atomic.Int64                   // entries of a pool that the programs had no room for

	adopted bool         // of another process, and not watched yet
	users   atomic.Int64 // the service, and each worker that may have flows there
	cancel  context.CancelFunc
	ended   chan struct{} // closed when the watch has ended
	closed  chan struct{} // ... and the sockets are given back
}

// entries are the first n of its pool, for the programs.
func (e *liveBackend) entries(n int) bpf.PoolMemory {
	if s := e.memory.Load(); s != nil {
		return s.First(n)
	}
	return bpf.PoolMemory{}
}

// hold keeps e open, unless it is closed already.
func (e *liveBackend) hold() bool {
	for {
		n := e.users.Load()
		if n == 0 {
			return false
		}
		if e.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release undoes hold. The last one closes the sockets.
func (e *liveBackend) release() {
	if e.users.Add(-1) > 0 {
		return
	}
	e.cancel()
	go func() {
		<-e.ended
		e.Close()
		e.service.strike(e)
		e.giveBack()
		close(e.closed)
	}()
}

// giveBack gives the memory of its pool back to the programs. Nothing of e may be running.
func (e *liveBackend) giveBack() {
	if m := e.memory.Swap(nil); m != nil {
		e.outgrown = append(e.outgrown, *m)
	}
	for _, m := range e.outgrown {
		e.service.kernel.guard.FreePoolMemory(m)
	}
	e.outgrown = nil
}

// fitsNow reports whether the programs had no room for the pool of e, and have it now, because a previous back end has ended.
func (e *liveBackend) fitsNow() bool {
	n := int(e.lacking.Load())
	return n > 0 && e.service.kernel.guard.PoolRoom() >= n
}

// retryAfter is the pause before a back end that did not answer is probed again. Probing itself has waited for its answer.
const retryAfter = time.Second

// resolvePatience is the timeout of a resolver: two of its own retransmissions (resolv.conf(5), 5 s each).
const resolvePatience = 5 * time.Second

func newTarget(v *service, b Backend) *target {
	return &target{service: v, config: b, tried: make(chan struct{})}
}

// run finds the server and watches it until ctx ends.
func (t *target) run(ctx context.Context) {
	var first sync.Once
	said := ""
	t.watch(ctx)
	for ctx.Err() == nil {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		t.fail(err)
		first.Do(func() { close(t.tried) })
		wait := t.service.config.ResolveEvery
		switch e := t.backend.Load(); {
		case e == nil:
			wait = retryAfter
			if text := fmt.Sprint(err); text != said {
				said = text
				t.service.log.Error("back end cannot be used", "backend", t.config.Address, "error", err)
				t.service.backendIs(t.config.Address, false, err)
			}
		case err != nil && err.Error() != said:
			said = err.Error()
			t.service.log.Warn("back end's name could not be followed; keeping its address", "backend", t.config.Address, "address", e.Server(), "error", err)
		case err == nil:
			said = ""
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (t *target) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.why = err
}

// follow resolves the name, and opens the server at the first address that answers, unless the current one is still among them
// and ready. One whose pool the programs had no room for is opened again once they have it.
func (t *target) follow(ctx context.Context) error {
	addrs, port, err := t.resolve(ctx)
	if err != nil {
		return err
	}
	now := t.backend.Load()
	again := now != nil && now.fitsNow()
	if now != nil && !again && (now.Ready() || len(addrs) == 1) && slices.Contains(addrs, now.Server().Addr()) {
		return nil
	}
	var failed []error
	for _, a := range addrs {
		if now != nil && !again && now.Server().Addr() == a {
			continue // it is watched
		}
		next, err := t.open(ctx, netip.AddrPortFrom(a, port))
		if err != nil {
			if len(addrs) > 1 || a.String() != t.host() {
				err = fmt.Errorf("%v: %w", a, err) // which address of the name
			}
			failed = append(failed, err)
			continue
		}
		t.replace(ctx, next)
		return nil
	}
	if now != nil && slices.Contains(addrs, now.Server().Addr()) {
		return nil
	}
	return errors.Join(failed...)
}

// host is the configured name or address.
func (t *target) host() string {
	host, _, _ := net.SplitHostPort(t.config.Address)
	return host
}

// resolve finds the addresses of the back end.
func (t *target) resolve(ctx context.Context) ([]netip.Addr, uint16, error) {
	host, portText, err := net.SplitHostPort(t.config.Address)
	if err != nil {
		return nil, 0, err // checked before
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, 0, err
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, uint16(port), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolvePatience)
	defer cancel()
	found, err := t.service.config.Resolve(ctx, host)
	if err == nil && len(found) == 0 {
		err = errors.New("the name has no address")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case err == nil:
		t.addrs = t.addrs[:0]
		for _, a := range found {
			t.addrs = append(t.addrs, a.Unmap())
		}
	case len(t.addrs) == 0: // else what is known stays
		return nil, 0, hint.Errorf("see that the resolver answers (getent hosts "+host+"), or give the address", "resolve %s: %w", host, err)
	}
	return slices.Clone(t.addrs), uint16(port), nil
}

// open probes the server at an address.
func (t *target) open(ctx context.Context, server netip.AddrPort) (*liveBackend, error) {
	v := t.service
	s := v.now.Load()
	e := &liveBackend{service: v, name: t.config.Address, weight: float64(t.config.Weight), seed: seedOf(t.config.Address), ended: make(chan struct{}), closed: make(chan struct{})}
	c := v.handoffConfig(s)
	c.Server = server
	c.Changed = func(up bool, why error) { v.backendIs(t.config.Address, up, why) }
	if v.kernel != nil && v.alone() {
		c.Table = func(size int) handoff.Table { return v.kernel.table(v, e, size) }
	}
	var err error
	if e.Backend, err = handoff.Open(ctx, c); err != nil {
		e.giveBack()
		return nil, err
	}
	e.upstreams = relay.NewUpstreams(server)
	e.users.Store(1)
	v.enrol(e)
	ctx, e.cancel = context.WithCancel(ctx)
	v.running.Go(func() {
		defer close(e.ended)
		e.Run(ctx)
	})
	return e, nil
}

// replace replaces the server by another one; flows of the old one end by themselves.
func (t *target) replace(ctx context.Context, next *liveBackend) {
	if ctx.Err() != nil { // removed by a reload meanwhile
		next.release()
		return
	}
	t.service.serve(t, next)
	st := next.Status()
	t.service.log.Info("serving", "backend", t.config.Address, "address", st.Server, "handoff", st.Handoff, "why", st.Why)
	t.service.backendIs(t.config.Address, true, nil)
}

// close releases the server, after the service's workers have released it and its context has ended.
func (t *target) close() {
	if e := t.backend.Swap(nil); e != nil {
		e.release()
		<-e.closed
	}
}

// status of the target, for people and metrics.
func (t *target) status() handoff.Status {
	t.mu.Lock()
	why := t.why
	t.mu.Unlock()
	e := t.backend.Load()
	if e == nil {
		st := handoff.Status{Server: t.config.Address, Handoff: t.service.now.Load().settings.Handoff.String(), Why: "it has not answered yet"}
		if why != nil {
			st.Why = say(why)
		}
		return st
	}
	return e.Status()
}

// seedOf names a back end in the rendezvous hash.
func seedOf(address string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(address) {
		h = (h ^ uint64(b)) * 1099511628211
	}
	return h
}

// score is how much a client at ip belongs to e: weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
// distributed hash tables", 2005). The back end with the highest score has the client; when one goes, only its own clients
// go to others.
func (e *liveBackend) score(ip *[16]byte) float64 {
	h := e.seed
	for i := 0; i < 16; i += 8 {
		h ^= uint64(ip[i]) | uint64(ip[i+1])<<8 | uint64(ip[i+2])<<16 | uint64(ip[i+3])<<24 |
			uint64(ip[i+4])<<32 | uint64(ip[i+5])<<40 | uint64(ip[i+6])<<48 | uint64(ip[i+7])<<56
		// The finalizer of splitmix64.
		h ^= h >> 30
		h *= 0xbf58476d1ce4e5b9
		h ^= h >> 27
		h *= 0x94d049bb133111eb
		h ^= h >> 31
	}
	u := (float64(h>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -e.weight / math.Log(u)
}
