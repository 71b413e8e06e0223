package frontend

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dtlsguard/dtlsguard/bpf"
	"github.com/dtlsguard/dtlsguard/frontend/hello"
	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// noService labels packets that belong to no service.
const noService = ""

// xdpFamilies are the metrics of kernelCollector.
var xdpFamilies metrics.Families

// MetricFamilies returns all metrics that a guard can export.
func MetricFamilies() metrics.Families {
	return slices.Concat(metrics.Documented(), mapFamilies, xdpFamilies)
}

var (
	xdpModeDesc    = xdpFamilies.Add(metrics.Gauge, "xdp_mode", "1 for the mode that XDP is attached in, 0 while it is not.", "interface", "mode")
	xdpAgainDesc   = xdpFamilies.Add(metrics.Counter, "xdp_reattached_total", "Times that XDP was off its interface and was attached again.", "interface")
	xdpPacketsDesc = xdpFamilies.Add(metrics.Counter, "xdp_packets_total", "Packets at ingress by verdict; service is empty for those of none.", "service", "verdict")
	xdpBytesDesc   = xdpFamilies.Add(metrics.Counter, "xdp_payload_bytes_total", "UDP payload of packets to services at ingress, by verdict.", "service", "verdict")
	xdpAnswersDesc = xdpFamilies.Add(metrics.Counter, "xdp_answer_payload_bytes_total", "UDP payload that XDP answered with.", "service")
	xdpReasonsDesc = xdpFamilies.Add(metrics.Counter, "xdp_datagrams_total", "Datagrams to services by what they were found to be.", "service", "reason")
	xdpHellosDesc  = xdpFamilies.Add(metrics.Counter, "xdp_hellos_total", "ClientHellos at ingress by the state of their cookie.", "service", "cookie")
	xdpIngressDesc = xdpFamilies.Add(metrics.Counter, "xdp_workers_packets_total", "ClientHellos on their way from XDP to the workers of inline services.", "service", "outcome")
	xdpEgressDesc  = xdpFamilies.Add(metrics.Counter, "xdp_egress_packets_total", "Packets of protected services at egress.", "service", "outcome")
	xdpSentDesc    = xdpFamilies.Add(metrics.Counter, "xdp_egress_payload_bytes_total", "UDP payload that protected services sent.", "service", "outcome")
	xdpFlowsDesc   = xdpFamilies.Add(metrics.Gauge, "xdp_flows", "Flows that the programs know, by state.", "state")
	xdpEndedDesc   = xdpFamilies.Add(metrics.Counter, "xdp_flows_ended_total", "Flows taken from the programs, or not given to them for want of room.", "outcome")
	neighboursDesc = xdpFamilies.Add(metrics.Counter, "neighbours_held_total", "Times that a router's neighbour entry was kept from being doubted.", "interface")
)

// kernelCollector exports the counters of the programs.
type kernelCollector struct {
	*kernel
	services func() []*service
}

// Describe implements prometheus.Collector.
func (k kernelCollector) Describe(ch chan<- *prometheus.Desc) { xdpFamilies.Describe(ch) }

// Collect implements prometheus.Collector.
func (k kernelCollector) Collect(ch chan<- prometheus.Metric) {
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, d := range k.devices {
		inForce := 1.0
		if d.lost.Load() != nil {
			inForce = 0
		}
		value(xdpModeDesc, prometheus.GaugeValue, inForce, d.name, d.attached().String())
		value(xdpAgainDesc, prometheus.CounterValue, float64(d.reattached.Load()), d.name)
		if k.neighbours != nil {
			value(neighboursDesc, prometheus.CounterValue, float64(d.held.Load()), d.name)
		}
	}
	value(xdpEndedDesc, prometheus.CounterValue, float64(k.flows.expired.Load()), "expired")
	value(xdpEndedDesc, prometheus.CounterValue, float64(k.flows.evicted.Load()), "evicted")
	value(xdpEndedDesc, prometheus.CounterValue, float64(k.flows.refused.Load()), "refused")
	if err := k.packets(value); err != nil {
		ch <- prometheus.NewInvalidMetric(xdpPacketsDesc, err)
		return
	}
	all, halfOpen, err := k.guard.VerifiedFlows()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(xdpFlowsDesc, err)
		return
	}
	value(xdpFlowsDesc, prometheus.GaugeValue, float64(all-halfOpen), "established")
	value(xdpFlowsDesc, prometheus.GaugeValue, float64(halfOpen), "half-open")
}

// packets exports the packet counters of each service, and of packets to no service.
func (k kernelCollector) packets(value func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) error {
	stray, err := k.guard.StrayCounters()
	if err != nil {
		return err
	}
	counts := map[string]*bpf.Counters{noService: &stray}
	for _, v := range k.services() {
		if c, err := k.guard.ServiceCounters(v.key()); err == nil { // an error: it was removed meanwhile
			counts[v.name] = &c
		}
	}
	for name, c := range counts {
		counter := func(d *prometheus.Desc, n uint64, label string) {
			value(d, prometheus.CounterValue, float64(n), name, label)
		}
		for i, n := range c.Verdict {
			counter(xdpPacketsDesc, n, bpf.Verdict(i).String())
		}
		if name == noService {
			continue // not parsed any further
		}
		for i, n := range c.Bytes {
			counter(xdpBytesDesc, n, bpf.Verdict(i).String())
		}
		value(xdpAnswersDesc, prometheus.CounterValue, float64(c.AnswerBytes), name)
		for i, n := range c.EgressBytes {
			counter(xdpSentDesc, n, bpf.EgressOutcome(i).String())
		}
		for i, n := range c.Reason {
			counter(xdpReasonsDesc, n, hello.Reason(i).String())
		}
		for i, n := range c.Cookie {
			counter(xdpHellosDesc, n, bpf.CookieState(i).String())
		}
		for i, n := range c.Ingress {
			counter(xdpIngressDesc, n, bpf.IngressOutcome(i).String())
		}
		for i, n := range c.Egress {
			counter(xdpEgressDesc, n, bpf.EgressOutcome(i).String())
		}
	}
	return nil
}
