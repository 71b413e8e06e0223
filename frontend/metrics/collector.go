package metrics

import "github.com/prometheus/client_golang/prometheus"

// Source is what a Collector shows.
type Source interface {
	Totals() *Totals
	Gauges() Gauges
}

// Gauges are the values that are no packet counts.
type Gauges struct {
	Flows                       map[string]int // by state
	FlowLimits                  map[string]int // by what they bound; 0: none
	SecretEpoch                 uint8
	SecretAge                   float64 // seconds
	Rotations, RotationFailures uint64
	Reloads, ReloadFailures     uint64
	Upgrades, UpgradeFailures   uint64
	Backends                    []Backend
}

// Backend is one back end's part.
type Backend struct {
	Service, Server, Handoff string
	Ready, Up                bool
	Known                    int
	Harvests                 uint64
}

type collector struct{ source Source }

// NewCollector makes a Prometheus collector that reads source at each scrape.
func NewCollector(source Source) prometheus.Collector { return collector{source} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("dtlsguard_"+name, help, labels, nil)
}

var (
	packetsDesc    = desc("packets_total", "Datagrams by what happened to them in each stage.", "stage", "outcome", "reason")
	fillDesc       = desc("batch_fill", "Datagrams received per system call.")
	overrunsDesc   = desc("receive_overruns_total", "Datagrams that the kernel dropped because a worker's socket buffer was full.")
	flowsDesc      = desc("flows", "Verified flows at the moment, by state.", "state")
	endedDesc      = desc("flows_ended_total", "Flows that ended, by how.", "outcome", "reason")
	handshakesDesc = desc("handshakes_total", "Handshakes of verified clients with back ends, by outcome.", "outcome")
	limitDesc      = desc("flow_limit", "Most flows that there may be, by what is bounded (0: no limit).", "budget")
	epochDesc      = desc("secret_epoch", "Epoch byte of the cookie secret in force.")
	ageDesc        = desc("secret_age_seconds", "Time since the cookie secret came into force.")
	reloadDesc     = desc("reloads_total", "Reloads of the configuration, by outcome.", "outcome")
	upgradeDesc    = desc("upgrades_total", "Upgrades, of this process and those before, by outcome.", "outcome")
	rotateDesc     = desc("secret_rotations_total", "Rotations of the cookie secret, by outcome.", "outcome")
	handoffDesc    = desc("handoff_mode", "1 for the hand-off mode in use.", "service", "backend", "mode")
	upDesc         = desc("backend_up", "Whether the back end answered the last question.", "service", "backend")
	readyDesc      = desc("backend_ready", "Whether clients can be handed over to the back end.", "service", "backend")
	knownDesc      = desc("harvested_cookies", "Ports whose cookie is known.", "service", "backend")
	harvestsDesc   = desc("harvests_total", "Times that all cookies were harvested anew.", "service", "backend")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{packetsDesc, fillDesc, overrunsDesc, flowsDesc, endedDesc, handshakesDesc, limitDesc, epochDesc, ageDesc,
		reloadDesc, upgradeDesc, rotateDesc, handoffDesc, upDesc, readyDesc, knownDesc, harvestsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	t, g := c.source.Totals(), c.source.Gauges()
	for e, n := range t.Events {
		switch l := Labels[e]; l.Stage {
		case "":
		case HandshakeStage:
			counter(handshakesDesc, n, l.Outcome)
		case FlowStage:
			counter(endedDesc, n, l.Outcome, l.Reason)
		default:
			counter(packetsDesc, n, l.Stage, l.Outcome, l.Reason)
		}
	}
	var receives uint64
	buckets := make(map[float64]uint64)
	for i, n := range t.Fill {
		receives += n
		buckets[float64(uint(1)<<i)] = receives
	}
	ch <- prometheus.MustNewConstHistogram(fillDesc, receives, float64(t.Received), buckets)
	counter(overrunsDesc, t.Overruns)
	for state, n := range g.Flows {
		gauge(flowsDesc, float64(n), state)
	}
	for budget, n := range g.FlowLimits {
		gauge(limitDesc, float64(n), budget)
	}
	gauge(epochDesc, float64(g.SecretEpoch))
	gauge(ageDesc, g.SecretAge)
	counter(reloadDesc, g.Reloads, "done")
	counter(reloadDesc, g.ReloadFailures, "failed")
	counter(upgradeDesc, g.Upgrades, "done")
	counter(upgradeDesc, g.UpgradeFailures, "failed")
	counter(rotateDesc, g.Rotations, "done")
	counter(rotateDesc, g.RotationFailures, "failed")
	is := map[bool]float64{true: 1}
	for _, b := range g.Backends {
		gauge(handoffDesc, 1, b.Service, b.Server, b.Handoff)
		gauge(upDesc, is[b.Up], b.Service, b.Server)
		gauge(readyDesc, is[b.Ready], b.Service, b.Server)
		gauge(knownDesc, float64(b.Known), b.Service, b.Server)
		counter(harvestsDesc, b.Harvests, b.Service, b.Server)
	}
}
