// Package monitoring tests what operators monitor: events, metrics, alerts and the dashboard, with a real Prometheus.
package monitoring
