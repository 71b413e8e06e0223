package frontend

import (
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/dtlsguard/dtlsguard/frontend/handoff"
	"github.com/dtlsguard/dtlsguard/frontend/relay"
)

// filesKept are the open files reserved for other uses than flows: connections of the metrics and control listeners, files that
// are read again, probes, sockets that ask for cookies, and those that hold clients' ports.
const filesKept = 64

func (c *Config) limits() relay.Limits {
	return relay.Limits{Flows: c.MaxFlows, PerSource: max(c.FlowsPerSource, 0), HalfOpenPerSource: max(c.HalfOpenPerSource, 0)}
}

// fitRoom sets how many flows the service can have: its share of all, or the number of sockets of its back ends.
func (v *service) fitRoom() {
	most, sockets := v.budget.Limits().Flows, 0
	now := v.now.Load()
	if own := now.settings.ServiceFlows; own > 0 {
		most = min(most, own)
	}
	backends := now.backends
	for _, e := range backends {
		n := e.MaxFlows()
		if n == 0 {
			sockets = most
			break
		}
		sockets += n
	}
	if len(backends) > 0 {
		most = min(most, sockets)
	}
	v.room.SetMax(most)
}

// clampFlows lowers --max-flows to the files and ports of this process and host, and logs it. Inherited files are sockets of
// flows that the limit counts.
func (s *Server) clampFlows(inherited int) {
	if !slices.ContainsFunc(s.config.Services, func(v Service) bool { return !v.Inline() }) {
		return // the kernel's flows need neither
	}
	lower := func(most int, what, hint string) {
		if l := s.budget.Limits(); most < l.Flows {
			s.config.Log.Warn("fewer flows than asked for", "why", what, "max_flows", l.Flows, "possible", most, "hint", hint)
			l.Flows = max(most, 1)
			s.budget.SetLimits(l)
		}
	}
	if limit, err := mostFiles(); err == nil {
		open := filesOpen() - inherited
		kept := filesKept
		for _, v := range s.config.Services {
			kept += len(v.Backends) * handoff.MostFiles
		}
		kept = min(kept, limit/4)
		lower(limit-open-kept, "each is a socket, and the limit of open files is lower",
			fmt.Sprintf("ulimit -n %d (LimitNOFILE= of a systemd unit)", s.config.MaxFlows+open+kept))
	}
	for _, v := range s.config.Services {
		for _, b := range v.Backends {
			if a, err := netip.ParseAddrPort(b.Address); err != nil || !relay.Bounded(a) {
				continue
			}
			lower(relay.PortsMost(), "each has an ephemeral port, of which a quarter is left to other programs",
				"sysctl -w net.ipv4.ip_local_port_range=\"1024 60999\", or the server on 127.0.0.1")
		}
	}
}

// mostFiles is the limit of open files.
func mostFiles() (int, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return int(min(l.Cur, 1<<30)), err
}

// filesOpen counts the open files; 0 without /proc.
func filesOpen() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// FlowStatus counts flows, and lists their limits.
type FlowStatus struct {
	States map[string]int    `json:"states"`
	Ended  map[string]uint64 `json:"ended"`  // and why
	Limits map[string]int    `json:"limits"` // 0: none
}

func (s *Server) flowStatus() FlowStatus {
	st := FlowStatus{States: make(map[string]int), Ended: s.totals().Ended(), Limits: s.budget.Limits().Named()}
	for state := range relay.Over {
		for _, v := range s.services {
			for _, w := range v.workers {
				st.States[state.String()] += w.flows.Count(state)
			}
		}
	}
	return st
}
