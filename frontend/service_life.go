package frontend

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/events"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/limit"
	"github.com/dtlsguard/dtlsguard/frontend/udpbatch"
)

// newService makes a service of s, which has no sockets yet.
func (s *Server) newService(c *Service, listen netip.AddrPort, secrets *secrets) *service {
	v := &service{
		config: &s.config, name: c.Name, listen: listen, port: listen.Port(), inline: c.Inline(), budget: s.budget, kernel: s.kernel, mapLog: s.mapLog,
		configured: *c, clock: s.clock, gate: s.newGate(c.Inline()), events: s.events, stop: make(chan struct{}),
	}
	if v.name == "" {
		v.name = listen.String()
	}
	v.sketchSeed = drawSeed()
	v.handshakeTimes = s.durations.WithLabelValues(v.name)
	v.log = s.config.Log.With("service", v.name)
	v.now.Store(&serving{settings: c.Settings, interfaces: c.Interfaces, keys: &secrets.store, secrets: secrets, hellos: limit.NewHellos(c.Settings.HelloRate, c.Settings.BackendHelloRate)})
	v.fitRoom()
	if v.inline && transit(listen.Addr(), forwardingFiles) {
		v.log.Warn("this host forwards, and the service is on every address: datagrams that pass through to this port of other hosts are taken for its own",
			"hint", "name the server's addresses, one service each, in place of all")
	}
	return v
}

// handoffConfig returns the configuration of the hand-off to a server of the service.
func (v *service) handoffConfig(s *serving) handoff.Config {
	c := handoff.Config{
		Server: v.listen, Mode: s.settings.Handoff, Pool: s.settings.HarvestPool, Rate: s.settings.HarvestRate, MAC: v.config.MAC, Cookies: v.config.Cookies,
		PSK: s.settings.PSKSuite, Gate: v.gate, Now: v.clock, Log: v.log,
		Changed: func(up bool, why error) { v.backendIs(v.listen.String(), up, why) },
	}
	if s.settings.SecretFile != "" {
		c.Keys = s.keys.Load
	}
	return c
}

// backendIs emits the event of a server that went down or came up.
func (v *service) backendIs(backend string, up bool, why error) {
	if up {
		v.events.Emit(events.BackendUp, v.name, "backend", backend)
	} else {
		v.events.Emit(events.BackendDown, v.name, "backend", backend, "error", why)
	}
}

// open opens the sockets of a service beside others and makes its workers; its back ends are asked later, by run.
func (s *Server) open(c *Service, others []*service) (*service, error) {
	secrets, err := s.secretsOf(c.Settings)
	if err != nil {
		return nil, err
	}
	before := s.inherited.service(c.key())
	conns, err := s.inherited.conns(before)
	listenAt := c.Listen
	switch {
	case err != nil:
	case !c.Inline():
		switch {
		case len(conns) > 0:
		case s.inherited.taken(c.Listen):
			conns, err = listenBeside(c.Listen, s.config.Workers, &s.config)
		default:
			conns, err = listen(c.Listen, &s.config)
		}
		if err == nil {
			listenAt = conns[0].Local()
		}
	case len(conns) > 0:
	case c.Settings.Answer != bpf.AnswerXDP:
		conns, err = listenInline(c.Listen, s.workersPort(others), &s.config)
	}
	if err != nil {
		return nil, err
	}
	v := s.newService(c, listenAt, secrets)
	v.inherited = before
	if err := v.addWorkers(conns); err != nil {
		v.close()
		return nil, err
	}
	s.answerFromPort(v)
	if m := c.Settings.Handoff; c.Inline() && m != handoff.Auto && m != handoff.Reset && !m.Native() {
		v.change(func(s *serving) { s.fit = &handoff.Fit{Mode: m} }) // the server is asked all the same, whether it does so
	}
	for _, b := range c.Backends {
		v.targets = append(v.targets, newTarget(v, b))
	}
	if err := s.inherited.adopt(v, before); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

// workersPort returns the port for the workers of the next inline service: the first from Config.WorkersPort on that none of
// the others has; 0: any.
func (s *Server) workersPort(others []*service) uint16 {
	if s.config.WorkersPort == 0 {
		return 0
	}
	taken := make(map[uint16]bool)
	for i := range s.config.Services {
		taken[s.config.Services[i].Listen.Port()] = true
	}
	for _, v := range others {
		for _, w := range v.workers {
			taken[w.socket.Local().Port()] = true
		}
	}
	port := uint16(s.config.WorkersPort)
	for taken[port] {
		port++
	}
	return port
}

// addWorkers makes a worker for each socket.
func (v *service) addWorkers(conns []*udpbatch.Conn) error {
	cpus := allowedCPUs()
	for i, c := range conns {
		cpu := -1
		if len(conns) <= len(cpus) {
			cpu = cpus[i]
		}
		w, err := newWorker(v, c, cpu)
		if err != nil {
			closeAll(conns[i+1:])
			return err
		}
		if v.inherited != nil {
			w.counts.Begin(c.Overruns())
		}
		v.workers = append(v.workers, w)
	}
	return nil
}

// run serves until stop is closed; pinned is called by each worker that has its thread, failed by one that cannot go on.
func (v *service) run(ctx context.Context, pinned func(), failed func(error)) {
	for _, w := range v.workers {
		v.running.Go(func() {
			w.pinThread()
			pinned()
			if err := w.run(v.stop); err != nil {
				failed(err)
			}
		})
	}
	v.ctx, v.cancel = context.WithCancel(ctx)
	for _, t := range v.targets {
		v.runTarget(t)
	}
	if v.inline {
		v.running.Go(func() { v.watchInline(v.ctx) })
	}
}

// runTarget runs a target until it or the service ends.
func (v *service) runTarget(t *target) {
	var ctx context.Context
	ctx, t.stop = context.WithCancel(v.ctx)
	v.running.Go(func() { t.run(ctx) })
}

// end has the workers serve what has arrived, and waits until all that runs has ended.
func (v *service) end() {
	v.ending.Do(func() {
		v.cancel()
		close(v.stop)
	})
	for _, w := range v.workers {
		w.poller.Wake()
	}
	v.running.Wait()
}

// close releases what the service holds, its flows included. Nothing of it may be running.
func (v *service) close() {
	for _, w := range v.workers {
		w.kernel = nil // its flows end with the programs, or stay with them
		w.close()
	}
	for _, t := range v.targets {
		t.close()
	}
}

// announce logs the configuration of a service.
func (v *service) announce() {
	if len(v.workers) == 0 {
		return
	}
	conn, asked := v.workers[0].socket, v.config.ReceiveBuffer
	receive, send := conn.Buffers()
	v.log.Info("listening", "socket", conn.Local(), "workers", len(v.workers), "receive_buffer", receive, "send_buffer", send)
	if receive < asked {
		v.log.Warn("kernel granted a smaller receive buffer than asked for", "asked", asked,
			"granted", receive, "hint", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", asked))
	}
}
