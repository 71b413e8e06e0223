package frontend

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
)

// XDPStatus is what the programs saw. The maps leave out what is 0.
type XDPStatus struct {
	Interfaces []InterfaceStatus            `json:"interfaces"`
	Flows      int                          `json:"flows"` // established or half-open
	HalfOpen   int                          `json:"half_open_flows"`
	Verdicts   map[string]uint64            `json:"verdicts"`
	Reasons    map[string]uint64            `json:"reasons"` // what datagrams to services were
	Cookies    map[string]uint64            `json:"cookies"`
	Egress     map[string]uint64            `json:"egress"`
	Sockets    map[string]uint64            `json:"sockets"`  // how datagrams found their worker
	Services   map[string]map[string]uint64 `json:"services"` // verdicts of each
}

// InterfaceStatus is how the programs are on one interface.
type InterfaceStatus struct {
	Interface      string `json:"interface"` // as it was configured
	Name           string `json:"name"`      // that it has now; "": it is gone
	Mode           string `json:"mode"`
	Up             bool   `json:"up"`
	MTU            int    `json:"mtu"`
	Lost           string `json:"lost,omitempty"`  // why the programs are not in force
	Reattached     uint64 `json:"reattached"`      // times that they were attached again
	NeighboursHeld uint64 `json:"neighbours_held"` // times that a router's neighbour entry was confirmed
}

func (d *device) status() InterfaceStatus {
	at := d.at()
	st := InterfaceStatus{Interface: d.name, Name: at.Name, Mode: d.attached().String(), Up: at.Up, MTU: at.MTU,
		Reattached: d.reattached.Load(), NeighboursHeld: d.held.Load()}
	if lost := d.lost.Load(); lost != nil {
		st.Lost = (*lost).Error()
	}
	return st
}

func (k *kernel) status(services []*service) (*XDPStatus, error) {
	c, err := k.guard.Counters()
	if err != nil {
		return nil, err
	}
	st := &XDPStatus{
		Verdicts: named[bpf.Verdict](c.Verdict[:]), Reasons: named[hello.Reason](c.Reason[:]), Cookies: named[bpf.CookieState](c.Cookie[:]),
		Egress: named[bpf.EgressOutcome](c.Egress[:]), Sockets: named[bpf.SocketChoice](c.Socket[:]),
		Services: make(map[string]map[string]uint64),
	}
	for _, d := range k.devices {
		st.Interfaces = append(st.Interfaces, d.status())
	}
	if st.Flows, st.HalfOpen, err = k.guard.VerifiedFlows(); err != nil {
		return nil, err
	}
	for _, v := range services {
		c, err := k.guard.ServiceCounters(v.key())
		if err != nil {
			return nil, err
		}
		st.Services[v.listen.String()] = named[bpf.Verdict](c.Verdict[:])
	}
	return st, nil
}

// named gives counters the names of their enumeration.
func named[E interface {
	~uint8
	fmt.Stringer
}](counts []uint64) map[string]uint64 {
	m := make(map[string]uint64)
	for i, n := range counts {
		if n > 0 {
			m[E(i).String()] = n
		}
	}
	return m
}

var (
	xdpModeDesc    = prometheus.NewDesc("dtlsguard_xdp_mode", "1 for the mode that XDP is attached in, 0 while it is not.", []string{"interface", "mode"}, nil)
	xdpAgainDesc   = prometheus.NewDesc("dtlsguard_xdp_reattached_total", "Times that XDP was off its interface and was attached again.", []string{"interface"}, nil)
	xdpPacketsDesc = prometheus.NewDesc("dtlsguard_xdp_packets_total", "Packets at ingress by verdict.", []string{"verdict"}, nil)
	xdpHellosDesc  = prometheus.NewDesc("dtlsguard_xdp_hellos_total", "ClientHellos at ingress by the state of their cookie.", []string{"cookie"}, nil)
	xdpFlowsDesc   = prometheus.NewDesc("dtlsguard_xdp_flows", "Flows that the programs know, by state.", []string{"state"}, nil)
	xdpEndedDesc   = prometheus.NewDesc("dtlsguard_xdp_flows_ended_total", "Flows taken from the programs, or not given to them for want of room.", []string{"outcome"}, nil)
	neighboursDesc = prometheus.NewDesc("dtlsguard_neighbours_held_total", "Times that a router's neighbour entry was kept from being doubted.", []string{"interface"}, nil)
	xdpEgressDesc  = prometheus.NewDesc("dtlsguard_xdp_egress_packets_total", "Packets of protected services at egress.", []string{"outcome"}, nil)
)

// Describe implements prometheus.Collector.
func (k *kernel) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{xdpModeDesc, xdpAgainDesc, xdpPacketsDesc, xdpHellosDesc, xdpEgressDesc, neighboursDesc, xdpFlowsDesc, xdpEndedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (k *kernel) Collect(ch chan<- prometheus.Metric) {
	for _, d := range k.devices {
		inForce := 1.0
		if d.lost.Load() != nil {
			inForce = 0
		}
		ch <- prometheus.MustNewConstMetric(xdpModeDesc, prometheus.GaugeValue, inForce, d.name, d.attached().String())
		ch <- prometheus.MustNewConstMetric(xdpAgainDesc, prometheus.CounterValue, float64(d.reattached.Load()), d.name)
		if k.neighbours != nil {
			ch <- prometheus.MustNewConstMetric(neighboursDesc, prometheus.CounterValue, float64(d.held.Load()), d.name)
		}
	}
	c, err := k.guard.Counters()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(xdpPacketsDesc, err)
		return
	}
	counter := func(d *prometheus.Desc, n uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	for i, n := range c.Verdict {
		counter(xdpPacketsDesc, n, bpf.Verdict(i).String())
	}
	for i, n := range c.Cookie {
		counter(xdpHellosDesc, n, bpf.CookieState(i).String())
	}
	for i, n := range c.Egress {
		counter(xdpEgressDesc, n, bpf.EgressOutcome(i).String())
	}
	counter(xdpEndedDesc, k.flows.expired.Load(), "expired")
	counter(xdpEndedDesc, k.flows.evicted.Load(), "evicted")
	counter(xdpEndedDesc, k.flows.refused.Load(), "refused")
	all, halfOpen, err := k.guard.VerifiedFlows()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(xdpFlowsDesc, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(xdpFlowsDesc, prometheus.GaugeValue, float64(all-halfOpen), "established")
	ch <- prometheus.MustNewConstMetric(xdpFlowsDesc, prometheus.GaugeValue, float64(halfOpen), "half-open")
}
