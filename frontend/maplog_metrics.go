package frontend

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dtlsguard/dtlsguard/frontend/metrics"
)

// mapFamilies are the metrics of mapLog.
var mapFamilies metrics.Families

var mapLinesDesc = mapFamilies.Add(metrics.Counter, "map_log_lines_total", "Lines of the map log: written, dropped because its queue was full, failed to be written.", "outcome")

// Describe implements prometheus.Collector.
func (m *mapLog) Describe(ch chan<- *prometheus.Desc) { mapFamilies.Describe(ch) }

// Collect implements prometheus.Collector.
func (m *mapLog) Collect(ch chan<- prometheus.Metric) {
	for outcome, n := range map[string]uint64{"written": m.written.Load(), "dropped": m.dropped.Load(), "failed": m.failed.Load()} {
		ch <- prometheus.MustNewConstMetric(mapLinesDesc, prometheus.CounterValue, float64(n), outcome)
	}
}
