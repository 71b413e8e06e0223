package frontend

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/dtlsguard/dtlsguard/cookie"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/handover"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// inherited is what a guard takes over from its predecessor; nil if there is none.
type inherited struct {
	state *guardState
	files *handover.Files
	log   *slog.Logger
	first map[*serviceState]int32 // number of the first worker

	workers  map[int32]*worker
	backends map[*serviceState][]*liveBackend
	spare    []*liveBackend // of those, the ones that get no new clients
	lost     int            // flows that could not be taken over
}

func newInherited(b []byte, files *handover.Files, log *slog.Logger) (*inherited, error) {
	g, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	in := &inherited{state: g, files: files, log: log, first: make(map[*serviceState]int32), workers: make(map[int32]*worker), backends: make(map[*serviceState][]*liveBackend)}
	n := int32(0)
	for i := range g.Services {
		in.first[&g.Services[i]] = n
		n += int32(len(g.Services[i].Sockets))
	}
	return in, nil
}

// service returns the state of the service with that key, nil if there was none.
func (in *inherited) service(k serviceKey) *serviceState {
	if in == nil {
		return nil
	}
	for i := range in.state.Services {
		v := &in.state.Services[i]
		if a, err := netip.ParseAddrPort(v.Listen); err == nil && (serviceKey{a, v.Inline}) == k {
			return v
		}
	}
	return nil
}

// taken reports whether sockets that were handed over have addr's port. They are of a service that now has another address:
// flows cannot move to its new sockets, because the kernel would distribute their clients differently (its hash for a wildcard
// differs).
func (in *inherited) taken(addr netip.AddrPort) bool {
	return in != nil && slices.ContainsFunc(in.state.Services, func(st serviceState) bool {
		was, err := netip.ParseAddrPort(st.Listen)
		return err == nil && !st.Inline && overlap(was, addr)
	})
}

// conns returns the sockets of a service's workers, nil if there were none.
func (in *inherited) conns(st *serviceState) (conns []*udpbatch.Conn, err error) {
	if st == nil {
		return nil, nil
	}
	for _, number := range st.Sockets {
		fd, ok := in.files.Take(number)
		if !ok {
			closeAll(conns)
			return nil, errGuardState
		}
		c, err := udpbatch.Adopt(fd)
		if err != nil {
			closeAll(conns)
			return nil, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// secret returns the state of the secrets with that key, nil if there were none.
func (in *inherited) secret(key secretKey) *secretState {
	if in == nil {
		return nil
	}
	for i := range in.state.Secrets {
		if x := &in.state.Secrets[i]; (secretKey{x.File, x.Every}) == key {
			return x
		}
	}
	return nil
}

// export must be called with the lock held.
func (s *secrets) export(key secretKey) secretState {
	st := secretState{File: key.file, Every: key.every, Ring: s.store.Load().AppendState(nil), Changed: s.changed.Load(), Rotations: s.rotations.Load(), Failures: s.failures.Load()}
	if r, ok := s.source.(*randomSecrets); ok {
		st.Next = r.key
	}
	return st
}

// adoptSecrets continues the secrets of another process. A file is read again, because it may have changed.
func adoptSecrets(st *secretState, source secretSource, log *slog.Logger, install func(*cookie.Keyring) error) (*secrets, error) {
	ring, err := cookie.KeyringOf(st.Ring)
	if err != nil {
		return nil, err
	}
	s := &secrets{source: source, log: log, install: install}
	if err := s.put(ring); err != nil {
		return nil, err
	}
	s.changed.Store(st.Changed)
	s.rotations.Store(st.Rotations)
	s.failures.Store(st.Failures)
	if r, ok := source.(*randomSecrets); ok {
		r.key = st.Next
		r.first = max(time.Millisecond, r.every-time.Since(time.Unix(0, st.Changed)))
	} else if err := s.follow(); err != nil {
		return nil, err
	}
	return s, nil
}

// adopt takes over the back ends and flows of a service.
func (in *inherited) adopt(v *service, st *serviceState) error {
	if st == nil {
		return nil
	}
	before := in.state.Totals[st.Name]
	v.attack.take(st.Attack, before.Totals())
	same := st.Asked == asked(v.now.Load().settings, len(v.configured.Backends) == 1)
	if st.Fit != nil && same {
		v.change(func(s *serving) { s.fit = st.Fit })
		if st.Heard != 0 {
			v.health.Store(&health{up: true, heard: time.Unix(0, st.Heard)})
		}
	}
	var backends []*liveBackend
	for i := range st.Backends {
		e, err := in.adoptBackend(v, &st.Backends[i], same)
		if err != nil {
			return fmt.Errorf("%s: back end %s: %w", v.name, st.Backends[i].Server, err)
		}
		backends = append(backends, e)
	}
	in.backends[st] = backends
	v.publish()
	for i, w := range v.workers {
		w.follow()
		in.workers[in.first[st]+int32(i)] = w
	}
	return nil
}

// adoptBackend continues a back end. If the configuration no longer has it, or with other settings, it only serves the flows
// that it has.
func (in *inherited) adoptBackend(v *service, b *backState, same bool) (*liveBackend, error) {
	server, err := netip.ParseAddrPort(b.Server)
	if err != nil || b.State == nil {
		return nil, errGuardState
	}
	e := &liveBackend{service: v, name: b.Address, seed: seedOf(b.Address), weight: float64(b.Weight), ended: make(chan struct{}), closed: make(chan struct{}), cancel: func() {}, adopted: true}
	close(e.ended)
	c := v.handoffConfig(v.now.Load())
	c.Server = server
	c.Changed = func(up bool, why error) { v.backendIs(b.Address, up, why) }
	var to *target
	for _, t := range v.targets {
		if same && t.config.Address == b.Address && t.config.Weight == b.Weight && t.backend.Load() == nil {
			to = t
		}
	}
	if to != nil && v.kernel != nil && v.alone() {
		c.Table = func(size int) handoff.Table { return v.kernel.table(v, e, size) }
	}
	if e.Backend, err = handoff.Adopt(c, b.State, in.files); err != nil {
		return nil, err
	}
	e.upstreams = relay.NewUpstreams(server)
	e.users.Store(1)
	v.enrol(e)
	if to != nil {
		to.backend.Store(e)
	} else {
		in.spare = append(in.spare, e)
	}
	return e, nil
}

// watch resumes the watch of an adopted back end.
func (t *target) watch(ctx context.Context) {
	e := t.backend.Load()
	if e == nil || !e.adopted {
		return
	}
	e.adopted, e.ended = false, make(chan struct{})
	ctx, e.cancel = context.WithCancel(ctx)
	t.service.running.Go(func() {
		defer close(e.ended)
		e.Run(ctx)
	})
}

// flows continues the flows of all services that still exist.
func (in *inherited) flows() error {
	adopted := make([]*relay.Flow, len(in.state.records))
	for i := range in.state.records {
		f, err := in.flow(&in.state.records[i], adopted)
		if err != nil {
			return fmt.Errorf("flow %d: %w", i, err)
		}
		adopted[i] = f
	}
	return nil
}

// flow continues one flow; nil if its service or its socket is gone.
func (in *inherited) flow(r *relay.Record, adopted []*relay.Flow) (*relay.Flow, error) {
	w := in.workers[r.Worker]
	if w == nil {
		in.lost++
		return nil, nil
	}
	backends := in.backends[w.service.inherited]
	if int(r.Back) < 0 || int(r.Back) >= len(backends) {
		return nil, errGuardState
	}
	h := w.workerBackend(backends[r.Back])
	var c *udpbatch.Conn
	if r.File >= 0 {
		fd, ok := in.files.Take(int(r.File))
		if !ok {
			in.lost++
			return nil, nil
		}
		var err error
		if c, err = udpbatch.Adopt(fd); err != nil {
			return nil, err
		}
	}
	up, err := h.backend.AdoptUpstream(c, int(r.Entry))
	if err != nil {
		return nil, err
	}
	var older *relay.Flow
	if r.Older >= 0 {
		if int(r.Older) >= len(adopted) {
			return nil, errGuardState
		}
		older = adopted[r.Older]
	}
	f, err := w.flows.Adopt(r, up, older)
	if err != nil {
		return nil, err
	}
	if r.PreHandshake >= 0 {
		if int(r.PreHandshake) >= len(in.state.PreHandshakes) {
			return nil, errGuardState
		}
		if f.PreHandshake, err = handoff.AdoptPreHandshake(in.state.PreHandshakes[r.PreHandshake]); err != nil {
			return nil, err
		}
	}
	f.Server = h.number
	h.flows++
	if f.Handshaking {
		h.backend.HandshakeStarted()
	}
	if err := w.poller.Add(up.FD(), f.Event()); err != nil {
		return nil, err
	}
	if w.kernel != nil {
		w.kernel.admit(w.service, f.Client, true)
	}
	return f, nil
}

// workerBackend returns the worker's side of an adopted back end: an active one, or one for the existing flows only.
func (w *worker) workerBackend(e *liveBackend) *workerBackend {
	if h := w.forBackend(e); h != nil {
		return h
	}
	e.hold()
	h := &workerBackend{backend: e, verifier: e.NewVerifier(w.service.config.Batch)}
	w.add(h)
	w.active = w.active[:len(w.active)-1]
	h.left = true
	return h
}

// done ends the takeover: files that nobody took are closed.
func (in *inherited) done() {
	if in == nil {
		return
	}
	for _, e := range in.spare {
		e.release()
	}
	in.files.Close()
	if in.lost > 0 {
		in.log.Error("flows could not be taken over, and have ended", "flows", in.lost, "why", "their service is gone or has another address, or their sockets could not be handed over")
	}
	in.log.Info("taken over", "flows", len(in.state.records)-in.lost)
}
