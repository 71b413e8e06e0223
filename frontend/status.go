package frontend

import (
	"maps"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/attack"
	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// Status is what a guard shows of itself.
type Status struct {
	PID           int                          `json:"pid"`
	UptimeSeconds float64                      `json:"uptime_seconds"`
	CPUSeconds    float64                      `json:"cpu_seconds"` // of this process, user and system
	Ready         bool                         `json:"ready"`
	NotReady      string                       `json:"not_ready,omitempty"`
	Services      []ServiceStatus              `json:"services"`
	Secrets       []SecretStatus               `json:"secrets"` // in the order of services
	Flows         int                          `json:"flows"`
	FlowStatus    FlowStatus                   `json:"flow_status"`
	Packets       map[string]map[string]uint64 `json:"packets"`
	Received      uint64                       `json:"received"`
	Overruns      uint64                       `json:"overruns"`
	XDP           *XDPStatus                   `json:"xdp,omitempty"`
	Upgrades      UpgradeCounts                `json:"upgrades"`
	Flags         map[string]any               `json:"flags"` // the values in force
}

// ServiceStatus is the status of one service.
type ServiceStatus struct {
	Name          string           `json:"name"`
	Listen        string           `json:"listen"`
	Inline        bool             `json:"inline"`
	Workers       int              `json:"workers"`
	ReceiveBuffer int              `json:"receive_buffer"`
	SendBuffer    int              `json:"send_buffer"`
	Ready         bool             `json:"ready"`
	Reasons       []string         `json:"reasons,omitempty"` // why not
	Backends      []handoff.Status `json:"backends"`          // inline: the server itself
	Admission     *AdmissionStatus `json:"admission,omitempty"`
	Answer        string           `json:"answer,omitempty"`     // who answers ClientHellos, with XDP
	AnswerWhy     string           `json:"answer_why,omitempty"` // why it is not the kernel
	WorkersBy     string           `json:"workers_by,omitempty"` // inline: how ClientHellos reach the workers, "socket" or "port N"
	Problem       string           `json:"problem,omitempty"`    // inline: packets that get lost on this host

	Clients    map[string]uint64 `json:"clients"`      // what workers did with clients' datagrams: "outcome" or "outcome/reason"
	Handshakes map[string]uint64 `json:"handshakes"`   // with back ends, by outcome
	Attacked   bool              `json:"attacked"`     // an attack is under way
	Prefixes   attack.Prefixes   `json:"top_prefixes"` // sources of most of what nothing has verified
}

// Status takes a snapshot.
func (s *Server) Status() Status {
	s.life.RLock() // a request may be under way while the guard stops
	defer s.life.RUnlock()
	t := s.totals()
	st := Status{
		PID: os.Getpid(), Upgrades: s.upgrades.load(),
		UptimeSeconds: time.Since(s.started).Seconds(), CPUSeconds: cpuSeconds(), Ready: true,
		Packets: t.Packets(), Received: t.Received, Overruns: t.Overruns, Flows: s.budget.Used(), FlowStatus: s.flowStatus(), Flags: s.flags,
	}
	if s.kernel != nil && !s.closed {
		var err error
		if st.XDP, err = s.kernel.status(s.services); err != nil {
			s.config.Log.Error("counters of XDP could not be read", "error", err)
		}
		halfOpen, established := s.kernel.inlineFlows(s.services)
		st.FlowStatus.States[relay.HalfOpen.String()] += halfOpen
		st.FlowStatus.States[relay.Established.String()] += established
		st.Flows += halfOpen + established
	}
	if err := s.available(); err != nil {
		st.Ready, st.NotReady = false, err.Error()
	}
	for _, v := range s.services {
		one := v.status(s.closed)
		if !s.closed {
			one.Attacked, _, _ = v.attack.show()
			one.Prefixes = s.topPrefixes(v)
		}
		st.Services = append(st.Services, one)
	}
	st.Secrets = s.secretsStatus()
	return st
}

// secretsStatus shows each secret in force. Call it with life locked.
func (s *Server) secretsStatus() (all []SecretStatus) {
	at := make(map[*secrets]int)
	for _, v := range s.services {
		x := v.now.Load().secrets
		i, ok := at[x]
		if !ok {
			i, at[x] = len(all), len(all)
			all = append(all, x.status())
		}
		all[i].Services = append(all[i].Services, v.name)
	}
	return all
}

// status of one service; the sockets of one that is closed are not looked at.
func (v *service) status(closed bool) ServiceStatus {
	r := v.readiness()
	st := ServiceStatus{Name: v.name, Listen: r.Listen, Inline: v.inline, Workers: len(v.workers), Ready: r.Ready, Reasons: r.Reasons}
	if v.inline {
		b := handoff.Status{Server: r.Listen, Handoff: v.now.Load().settings.Handoff.String(), Up: r.Ready, Ready: r.Ready}
		if fit := v.now.Load().fit; fit != nil {
			b.Handoff = fit.Mode.String()
		}
		st.Backends = append(st.Backends, b)
	}
	for _, t := range v.list() {
		st.Backends = append(st.Backends, t.status())
	}
	if !closed {
		st.Admission = v.admission()
		st.Answer, st.AnswerWhy = v.kernel.answers(v)
		st.WorkersBy, _ = v.workersBy()
		if p := v.delivery.problem.Load(); p != nil {
			st.Problem = *p
		}
	}
	var t metrics.Totals
	for _, w := range v.workers {
		w.counts.AddTo(&t)
	}
	if v.inline && !closed {
		v.kernel.inlineHandshakes(v, &t)
	}
	st.Clients, st.Handshakes = t.Packets()["client"], t.Handshakes()
	if len(v.workers) > 0 && !closed {
		st.ReceiveBuffer, st.SendBuffer = v.workers[0].socket.Buffers()
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
	s.life.RLock()
	defer s.life.RUnlock()
	return s.totals()
}

func (s *Server) totals() *metrics.Totals {
	t := new(metrics.Totals)
	for _, gone := range s.gone {
		t.Add(gone)
	}
	for _, v := range s.services {
		for _, w := range v.workers {
			w.counts.AddTo(t)
		}
	}
	return t
}

// Flows is the number of verified flows, those of inline services included, which the programs count.
func (s *Server) Flows() int {
	halfOpen, established := s.kernel.inlineFlows(s.list())
	return s.budget.Used() + halfOpen + established
}

func (c *Config) flags() map[string]any {
	m := map[string]any{
		"workers": c.Workers, "worker-nice": c.Nice, "batch": c.Batch, "handoff": c.Handoff.String(), "harvest-pool": c.HarvestPool, "harvest-rate": c.HarvestRate, "psk-suite": c.PSKSuite.String(), "resolve-every": c.ResolveEvery.String(),
		"secret-file": c.SecretFile, "cookie-mac": c.MAC.String(), "cookie-impl": c.Cookies.String(), "rotate-every": c.RotateEvery.String(),
		"max-flows": c.MaxFlows, "idle-timeout": c.IdleTimeout.String(), "handshake-timeout": c.HandshakeTimeout.String(),
		"flows-per-source": max(c.FlowsPerSource, 0), "half-open-per-source": max(c.HalfOpenPerSource, 0),
		"hello-rate": max(c.HelloRate.PerSecond, 0), "hello-burst": c.HelloRate.Burst,
		"backend-hello-rate": c.BackendHelloRate.PerSecond, "receive-buffer": c.ReceiveBuffer, "freebind": c.FreeBind, "workers-port": c.WorkersPort,
		"attack-rate": c.AttackRate, "attack-quiet": c.AttackQuiet.String(),
		"engage": c.Engage.String(), "engage-rate": c.EngageRate, "address-lifetime": c.AddressLifetime.String(),
		"trust-tcp": listed(c.TrustTCP), "allow-file": c.AllowFile, "map-log": c.MapLog, "deny-file": c.DenyFile,
		"interface": listed(c.XDP.Interfaces), "allow-unguarded": c.XDP.AllowUnguarded, "xdp-mode": c.XDP.Mode.String(), "xdp-chain": c.XDP.Chain, "answer": c.Answer.String(),
		"unverified": c.Unverified.String(), "unverified-rate": c.UnverifiedRate.PerSecond,
		"answer-rate": c.XDP.AnswerRate.PerSecond, "on-daemon-loss": map[bool]string{true: "pass", false: "drop"}[c.XDP.PassWhenLost],
		"keep-attached": c.XDP.KeepAttached, "keep-neighbours": c.XDP.KeepNeighbours, "monitor": c.Monitor, "pin": c.XDP.Pin,
	}
	maps.Copy(m, c.Shown)
	return m
}

// listed is a list that JSON shows as one even if it is empty.
func listed[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
