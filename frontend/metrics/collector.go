package metrics

import "github.com/prometheus/client_golang/prometheus"

// Source is what a Collector shows.
type Source interface {
	Services() []Service
	Gauges() Gauges
}

// Service is one service's part. No two have the same name.
type Service struct {
	Name   string
	Totals Totals
	Gone   bool // it was removed: what it counted is all that there is of it

	Flows             map[string]int     // by state
	FlowLimit         int                // most flows that it has upstream sockets for
	HelloLimits       map[string]float64 // verified ClientHellos per second, by what they bound; 0: none
	Ready             bool
	Attacked          bool
	Normal, Threshold float64 // datagrams per second that nothing has verified: what is usual, and above what is an attack
	Challenging       bool    // who has not proved the address is challenged or dropped now
	Backends          []Backend
	Challenged        uint64 // times that it began
	SecretKeyID       uint8
	SecretAge         float64 // seconds
}

// Gauges are the values that are of no service.
type Gauges struct {
	Build                       Build
	Uptime                      float64        // seconds
	FlowLimits                  map[string]int // by what they bound; 0: none
	Rotations, RotationFailures uint64
	Reloads, ReloadFailures     uint64
	Upgrades, UpgradeFailures   uint64
	AddressesKnown, Addresses   int // that have proved themselves, and how many there is room for
	Rules                       int // prefixes that are allowed or denied
	ListFailures                uint64
	Events                      map[string]uint64 // by kind
}

// Build says which program runs.
type Build struct{ Version, Revision, GoVersion string }

// Backend is one back end's part.
type Backend struct {
	Server, Handoff string
	Ready, Up       bool
	Pool, Known     int // harvested cookies: how many there can be, and are
	Harvests        uint64
	Taken           map[string]int // of the pool, by whom
}

type collector struct{ source Source }

// NewCollector makes a Prometheus collector that reads source at each scrape.
func NewCollector(source Source) prometheus.Collector { return collector{source} }

// families are the collector's.
var families Families

var (
	buildDesc      = families.Add(Gauge, "build_info", "1; the labels say which program runs.", "version", "revision", "goversion")
	uptimeDesc     = families.Add(Gauge, "uptime_seconds", "Time since the guard started.")
	packetsDesc    = families.Add(Counter, "packets_total", "Datagrams by what happened to them in each stage.", "service", "stage", "outcome", "reason")
	bytesDesc      = families.Add(Counter, "payload_bytes_total", "UDP payload that workers took and sent.", "service", "direction")
	fillDesc       = families.Add(Histogram, "batch_fill", "Datagrams received per system call.", "service")
	overrunsDesc   = families.Add(Counter, "receive_overruns_total", "Datagrams that the kernel dropped because a worker's socket buffer was full.", "service")
	flowsDesc      = families.Add(Gauge, "flows", "Verified flows at the moment, by state.", "service", "state")
	endedDesc      = families.Add(Counter, "flows_ended_total", "Flows that ended, by how.", "service", "outcome", "reason")
	handshakesDesc = families.Add(Counter, "handshakes_total", "Handshakes of verified clients with servers, by outcome; inline what clients give up times out.", "service", "outcome")
	flowLimitDesc  = families.Add(Gauge, "service_flow_limit", "Most flows that the service has upstream sockets for.", "service")
	limitDesc      = families.Add(Gauge, "flow_limit", "Most flows that there may be, by what is bounded (0: no limit).", "budget")
	hellosDesc     = families.Add(Gauge, "hello_rate_limit", "Verified ClientHellos per second that may pass, by what is bounded (0: no limit).", "service", "scope")
	serviceDesc    = families.Add(Gauge, "service_ready", "Whether clients can be served through the service.", "service")
	engagedDesc    = families.Add(Gauge, "challenging", "Whether clients that have not proved their address are challenged or dropped now.", "service")
	timesDesc      = families.Add(Counter, "challenges_total", "Times that challenging began.", "service")
	attackDesc     = families.Add(Gauge, "attack_active", "Whether there is an attack on the service.", "service")
	normalDesc     = families.Add(Gauge, "unverified_normal_rate", "Datagrams per second that nothing has verified and that are usual.", "service")
	thresholdDesc  = families.Add(Gauge, "attack_threshold_rate", "Datagrams per second that nothing has verified, above which is an attack.", "service")
	keyIDDesc      = families.Add(Gauge, "secret_key_id", "Key ID of the cookie secret in force: byte 0 of its cookies.", "service")
	ageDesc        = families.Add(Gauge, "secret_age_seconds", "Time since the cookie secret came into force.", "service")
	reloadDesc     = families.Add(Counter, "reloads_total", "Reloads of the configuration, by outcome.", "outcome")
	upgradeDesc    = families.Add(Counter, "upgrades_total", "Upgrades, of this process and those before, by outcome.", "outcome")
	rotateDesc     = families.Add(Counter, "secret_rotations_total", "Rotations of the cookie secret, by outcome.", "outcome")
	handoffDesc    = families.Add(Gauge, "handoff_mode", "1 for the hand-off mode in use.", "service", "backend", "mode")
	upDesc         = families.Add(Gauge, "backend_up", "Whether the back end answered the last question.", "service", "backend")
	readyDesc      = families.Add(Gauge, "backend_ready", "Whether clients can be handed over to the back end.", "service", "backend")
	poolDesc       = families.Add(Gauge, "harvest_pool", "Ports whose cookies are harvested.", "service", "backend")
	knownDesc      = families.Add(Gauge, "harvested_cookies", "Ports whose cookie is known.", "service", "backend")
	takenDesc      = families.Add(Gauge, "harvest_pool_taken", "Ports of the pool that are taken, by flows or by other programs of the host.", "service", "backend", "by")
	harvestsDesc   = families.Add(Counter, "harvests_total", "Times that all cookies were harvested anew.", "service", "backend")
	addressesDesc  = families.Add(Gauge, "addresses_known", "Addresses that have proved themselves.")
	roomDesc       = families.Add(Gauge, "addresses_limit", "Most addresses that can be known.")
	rulesDesc      = families.Add(Gauge, "address_rules", "Prefixes that are allowed or denied.")
	eventsDesc     = families.Add(Counter, "events_total", "Events, by kind.", "event")
	listsDesc      = families.Add(Counter, "address_list_failures_total", "Times that a list of addresses could not be read or put in force.")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { families.Describe(ch) }

// sink takes metrics.
type sink chan<- prometheus.Metric

func (ch sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (ch sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch sink) is(d *prometheus.Desc, v bool, labels ...string) {
	ch.gauge(d, map[bool]float64{true: 1}[v], labels...)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(metrics chan<- prometheus.Metric) {
	ch, g := sink(metrics), c.source.Gauges()
	ch.gauge(buildDesc, 1, g.Build.Version, g.Build.Revision, g.Build.GoVersion)
	ch.gauge(uptimeDesc, g.Uptime)
	for budget, n := range g.FlowLimits {
		ch.gauge(limitDesc, float64(n), budget)
	}
	ch.counter(upgradeDesc, g.Upgrades, "done")
	ch.counter(upgradeDesc, g.UpgradeFailures, "failed")
	ch.counter(reloadDesc, g.Reloads, "done")
	ch.counter(reloadDesc, g.ReloadFailures, "failed")
	ch.counter(rotateDesc, g.Rotations, "done")
	ch.counter(rotateDesc, g.RotationFailures, "failed")
	ch.gauge(addressesDesc, float64(g.AddressesKnown))
	ch.gauge(roomDesc, float64(g.Addresses))
	ch.gauge(rulesDesc, float64(g.Rules))
	ch.counter(listsDesc, g.ListFailures)
	for event, n := range g.Events {
		ch.counter(eventsDesc, n, event)
	}
	for _, s := range c.source.Services() {
		s.totals(ch)
		if !s.Gone {
			s.gauges(ch)
		}
	}
}

// totals shows what was counted.
func (s *Service) totals(ch sink) {
	t := &s.Totals
	for e, n := range t.Events {
		switch l := Labels[e]; l.Stage {
		case "":
		case HandshakeStage:
			ch.counter(handshakesDesc, n, s.Name, l.Outcome)
		case FlowStage:
			ch.counter(endedDesc, n, s.Name, l.Outcome, l.Reason)
		default:
			ch.counter(packetsDesc, n, s.Name, l.Stage, l.Outcome, l.Reason)
		}
	}
	for d, n := range t.Bytes {
		ch.counter(bytesDesc, n, s.Name, Direction(d).String())
	}
	var receives uint64
	buckets := make(map[float64]uint64)
	for i, n := range t.Fill {
		receives += n
		buckets[float64(uint(1)<<i)] = receives
	}
	ch <- prometheus.MustNewConstHistogram(fillDesc, receives, float64(t.Received), buckets, s.Name)
	ch.counter(overrunsDesc, t.Overruns, s.Name)
}

// gauges shows what is now.
func (s *Service) gauges(ch sink) {
	for state, n := range s.Flows {
		ch.gauge(flowsDesc, float64(n), s.Name, state)
	}
	ch.gauge(flowLimitDesc, float64(s.FlowLimit), s.Name)
	for scope, n := range s.HelloLimits {
		ch.gauge(hellosDesc, n, s.Name, scope)
	}
	ch.is(serviceDesc, s.Ready, s.Name)
	ch.is(attackDesc, s.Attacked, s.Name)
	ch.gauge(normalDesc, s.Normal, s.Name)
	ch.gauge(thresholdDesc, s.Threshold, s.Name)
	ch.is(engagedDesc, s.Challenging, s.Name)
	ch.counter(timesDesc, s.Challenged, s.Name)
	ch.gauge(keyIDDesc, float64(s.SecretKeyID), s.Name)
	ch.gauge(ageDesc, s.SecretAge, s.Name)
	for _, b := range s.Backends {
		ch.gauge(handoffDesc, 1, s.Name, b.Server, b.Handoff)
		ch.is(upDesc, b.Up, s.Name, b.Server)
		ch.is(readyDesc, b.Ready, s.Name, b.Server)
		ch.gauge(poolDesc, float64(b.Pool), s.Name, b.Server)
		ch.gauge(knownDesc, float64(b.Known), s.Name, b.Server)
		for by, n := range b.Taken {
			ch.gauge(takenDesc, float64(n), s.Name, b.Server, by)
		}
		ch.counter(harvestsDesc, b.Harvests, s.Name, b.Server)
	}
}
