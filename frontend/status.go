package frontend

import (
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// Status is what a guard shows of itself.
type Status struct {
	UptimeSeconds float64                      `json:"uptime_seconds"`
	CPUSeconds    float64                      `json:"cpu_seconds"` // of this process, user and system
	Ready         bool                         `json:"ready"`
	NotReady      string                       `json:"not_ready,omitempty"`
	Services      []ServiceStatus              `json:"services"`
	Secret        SecretStatus                 `json:"secret"`
	Flows         int                          `json:"flows"`
	FlowStatus    FlowStatus                   `json:"flow_status"`
	Packets       map[string]map[string]uint64 `json:"packets"`
	Received      uint64                       `json:"received"`
	Overruns      uint64                       `json:"overruns"`
	XDP           *XDPStatus                   `json:"xdp,omitempty"`
	Flags         map[string]any               `json:"flags"` // the values in force
}

// ServiceStatus is one service's part of it.
type ServiceStatus struct {
	Listen        string         `json:"listen"`
	Inline        bool           `json:"inline"`
	Workers       int            `json:"workers"`
	ReceiveBuffer int            `json:"receive_buffer"`
	SendBuffer    int            `json:"send_buffer"`
	Backend       handoff.Status `json:"backend"`
}

// Status takes a snapshot.
func (s *Server) Status() Status {
	s.life.RLock() // a request may be under way while the guard stops
	defer s.life.RUnlock()
	t := s.Totals()
	st := Status{
		UptimeSeconds: time.Since(s.started).Seconds(), CPUSeconds: cpuSeconds(), Ready: true, Secret: s.secrets.status(),
		Packets: t.Packets(), Received: t.Received, Overruns: t.Overruns, Flows: s.Flows(), FlowStatus: s.flowStatus(), Flags: s.config.flags(),
	}
	if s.kernel != nil && !s.closed {
		var err error
		if st.XDP, err = s.kernel.status(s.services); err != nil {
			s.config.Log.Error("counters of XDP could not be read", "error", err)
		}
	}
	if err := s.Ready(); err != nil {
		st.Ready, st.NotReady = false, err.Error()
	}
	for _, v := range s.services {
		sv := ServiceStatus{Listen: v.listen.String(), Inline: v.inline, Workers: len(v.workers)}
		if v.inline {
			sv.Backend = handoff.Status{Server: v.listen.String(), Handoff: v.fit.Mode.String(), Up: true, Ready: true}
		} else {
			sv.Backend = v.backend.Status()
		}
		if len(v.workers) > 0 && !s.closed {
			sv.ReceiveBuffer, sv.SendBuffer = v.workers[0].conn.Buffers()
		}
		st.Services = append(st.Services, sv)
	}
	return st
}

func cpuSeconds() float64 {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// Totals sums all workers' counters.
func (s *Server) Totals() *metrics.Totals {
	t := new(metrics.Totals)
	for _, v := range s.services {
		for _, w := range v.workers {
			w.counts.AddTo(t)
		}
	}
	return t
}

// Flows is the number of verified flows.
func (s *Server) Flows() int { return s.budget.Used() }

// Gauges implements metrics.Source.
func (s *Server) Gauges() metrics.Gauges {
	sec := s.secrets.status()
	g := metrics.Gauges{
		Flows: s.flowStatus().States, FlowLimits: s.budget.Limits().Named(), SecretEpoch: sec.Epoch, SecretAge: sec.AgeSeconds,
		Rotations: sec.Rotations, RotationFailures: sec.Failures,
	}
	for _, v := range s.services {
		if v.backend == nil {
			continue
		}
		b := v.backend.Status()
		g.Backends = append(g.Backends, metrics.Backend{Server: b.Server, Handoff: b.Handoff, Ready: b.Ready, Up: b.Up,
			Known: b.Known, Harvests: b.Harvests})
	}
	return g
}

func (c *Config) flags() map[string]any {
	m := map[string]any{
		"workers": c.Workers, "worker-nice": c.Nice, "batch": c.Batch, "handoff": c.Handoff.String(), "harvest-pool": c.HarvestPool,
		"secret-file": c.SecretFile, "cookie-mac": c.MAC.String(), "cookie-impl": c.Cookies.String(), "rotate-every": c.RotateEvery.String(),
		"max-flows": c.MaxFlows, "idle-timeout": c.IdleTimeout.String(), "handshake-timeout": c.HandshakeTimeout.String(),
		"flows-per-source": max(c.FlowsPerSource, 0), "half-open-per-source": max(c.HalfOpenPerSource, 0),
		"hello-rate": max(c.HelloRate.PerSecond, 0), "hello-burst": c.HelloRate.Burst,
		"backend-hello-rate": c.BackendHelloRate.PerSecond, "receive-buffer": c.ReceiveBuffer,
		"interface": c.XDP.Interface, "xdp-mode": c.XDP.Mode.String(), "answer": c.XDP.Answer.String(),
		"unverified": c.XDP.Unverified.String(), "unverified-rate": c.XDP.UnverifiedRate.PerSecond,
		"answer-rate": c.XDP.AnswerRate.PerSecond, "on-daemon-loss": map[bool]string{true: "pass", false: "drop"}[c.XDP.PassWhenLost],
		"keep-attached": c.XDP.KeepAttached, "monitor": c.XDP.Monitor, "pin": c.XDP.Pin,
	}
	maps.Copy(m, c.Shown)
	return m
}
