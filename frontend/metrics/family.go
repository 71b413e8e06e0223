package metrics

import "github.com/prometheus/client_golang/prometheus"

// Family is a metric and all its series, as documentation has it.
type Family struct {
	Name, Kind, Help string
	Labels           []string
	desc             *prometheus.Desc
}

// Kinds of families.
const (
	Gauge     = "gauge"
	Counter   = "counter"
	Histogram = "histogram"
)

// Families are those that one collector shows.
type Families []Family

// Add adds one and returns what its series are made with.
func (f *Families) Add(kind, name, help string, labels ...string) *prometheus.Desc {
	name = "dtlsguard_" + name
	d := prometheus.NewDesc(name, help, labels, nil)
	*f = append(*f, Family{name, kind, help, labels, d})
	return d
}

// Describe is what prometheus.Collector wants.
func (f Families) Describe(ch chan<- *prometheus.Desc) {
	for i := range f {
		ch <- f[i].desc
	}
}

// Documented are the families of this package.
func Documented() Families { return append(append(Families{}, families...), durationFamily) }
